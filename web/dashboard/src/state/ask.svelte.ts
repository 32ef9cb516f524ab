// Asks before an act: what will happen, and whether it should.

export interface Question {
  title: string;
  /** What will happen, a paragraph each. */
  text: string[];
  /** The word on the button that acts: "Retry 123 jobs". */
  act: string;
  danger?: boolean;
}

class Ask {
  question = $state.raw<Question | null>(null);
  #answer: ((yes: boolean) => void) | null = null;

  /** Resolves to whether the person agreed. */
  ask(question: Question): Promise<boolean> {
    this.answer(false);
    this.question = question;
    return new Promise((resolve) => (this.#answer = resolve));
  }

  answer(yes: boolean): void {
    this.question = null;
    this.#answer?.(yes);
    this.#answer = null;
  }
}

export const asking = new Ask();

/** Asks before an act; false when the person thought better of it. */
export const ask = (question: Question): Promise<boolean> => asking.ask(question);
