// Finding settings.
import type { Settings } from "./shapes.ts";

/** Which settings to show: those that hold all words, and only changed ones when asked. */
export function matching(settings: Settings, words: string, changed: boolean): Settings["groups"] {
  const wanted = words.toLowerCase().split(/\s+/).filter((word) => word !== "");
  return settings.groups
    .map((group) => ({
      ...group,
      settings: group.settings.filter((s) => {
        if (changed && s.source === "default") return false;
        const text = `${group.title} ${s.key} ${s.meaning} ${s.secret ? "" : s.value} ${s.source}`.toLowerCase();
        return wanted.every((word) => text.includes(word));
      }),
    }))
    .filter((group) => group.settings.length > 0);
}
