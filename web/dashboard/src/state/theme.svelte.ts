// The theme in force. Charts read it to draw with the right colours.
import { chosen, keep, type Theme } from "../core/theme.ts";

const dark = matchMedia("(prefers-color-scheme: dark)");

class ThemeState {
  choice = $state<Theme>(chosen(localStorage));
  #system = $state(dark.matches);

  constructor() {
    dark.addEventListener("change", () => (this.#system = dark.matches));
    this.#apply();
  }

  get dark(): boolean {
    return this.choice === "system" ? this.#system : this.choice === "dark";
  }

  choose(theme: Theme): void {
    this.choice = theme;
    keep(theme, localStorage);
    this.#apply();
  }

  #apply(): void {
    if (this.choice === "system") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.choice;
  }
}

export const theme = new ThemeState();
