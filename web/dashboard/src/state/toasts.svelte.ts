// Short messages about what was done. Errors stay until they are closed.

export interface Toast { id: number; text: string; kind: "done" | "failed" }

class Toasts {
  items = $state<Toast[]>([]);
  #last = 0;

  done(text: string): void {
    const id = this.#add(text, "done");
    setTimeout(() => this.close(id), 6000);
  }

  failed(text: string): void {
    this.#add(text, "failed");
  }

  close(id: number): void {
    this.items = this.items.filter((toast) => toast.id !== id);
  }

  #add(text: string, kind: Toast["kind"]): number {
    const id = ++this.#last;
    this.items = [...this.items.filter((toast) => toast.text !== text), { id, text, kind }].slice(-4);
    return id;
  }
}

/** The one list of toasts. */
export const toasts = new Toasts();
