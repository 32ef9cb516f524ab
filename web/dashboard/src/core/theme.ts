// Light, dark, or as the system says. The choice is kept in this browser.

export type Theme = "system" | "light" | "dark";

const KEY = "selflink.theme";

/** The choice that this browser keeps. */
export function chosen(storage: Pick<Storage, "getItem">): Theme {
  try {
    const value = storage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system"; // storage is forbidden here
  }
}

/** Keeps a choice, where storage is allowed. */
export function keep(theme: Theme, storage: Pick<Storage, "setItem" | "removeItem">): void {
  try {
    if (theme === "system") storage.removeItem(KEY);
    else storage.setItem(KEY, theme);
  } catch {
    // It holds until the page is closed, which is better than an error.
  }
}
