// What a page reads from the server, with its error and whether it is on its way.
import { aborted, wordsOf, type Params } from "../core/api.ts";
import type { Page } from "../core/shapes.ts";
import { live } from "./live.svelte.ts";
import { api } from "./session.svelte.ts";

/** One answer of the API. */
export class Resource<T> {
  data = $state.raw<T | null>(null);
  error = $state("");
  status = $state(0);
  loading = $state(false);
  #stop: AbortController | null = null;

  /** Reads path. A load that is still under way is given up. */
  async load(path: string, params: Params = {}): Promise<void> {
    this.#stop?.abort();
    const stop = (this.#stop = new AbortController());
    this.loading = true;
    try {
      this.data = await api.get<T>(path, params, stop.signal);
      this.error = "";
      this.status = 200;
    } catch (error) {
      if (aborted(error) || stop.signal.aborted) return;
      this.error = wordsOf(error);
      this.status = (error as { status?: number }).status ?? 0;
    }
    if (this.#stop === stop) this.loading = false;
  }

  /** Gives up a load that is under way. */
  cancel(): void {
    this.#stop?.abort();
    this.loading = false;
  }
}

/** A list that is read page by page. */
export class Listing<T> {
  items = $state.raw<T[]>([]);
  next = $state.raw<string | null>(null);
  /** The whole answer of the first page, for what stands beside the items. */
  first = $state.raw<Page<T> | null>(null);
  error = $state("");
  loading = $state(false);
  #stop: AbortController | null = null;
  #path = "";
  #params: Params = {};
  readonly #key: (item: T) => string;

  /** key tells items apart: one that two pages hold is shown once. */
  constructor(key: (item: T) => string) {
    this.#key = key;
  }

  /** Reads the first page anew. What is shown stays until the answer is there. */
  async load(path: string, params: Params = {}): Promise<void> {
    this.#path = path;
    this.#params = params;
    await this.#read(null);
  }

  /** Reads the page after what is there. */
  async older(): Promise<void> {
    if (this.next !== null && !this.loading) await this.#read(this.next);
  }

  cancel(): void {
    this.#stop?.abort();
    this.loading = false;
  }

  async #read(cursor: string | null): Promise<void> {
    this.#stop?.abort();
    const stop = (this.#stop = new AbortController());
    this.loading = true;
    try {
      const page = await api.get<Page<T>>(this.#path, { ...this.#params, cursor: cursor ?? undefined }, stop.signal);
      const items = cursor === null ? page.items : [...this.items, ...page.items];
      this.items = [...new Map(items.map((item) => [this.#key(item), item])).values()];
      if (cursor === null) this.first = page;
      this.next = page.next;
      this.error = "";
    } catch (error) {
      if (aborted(error) || stop.signal.aborted) return;
      this.error = wordsOf(error);
    }
    if (this.#stop === stop) this.loading = false;
  }
}

/**
 * Reads a topic once and then follows it. To be called while a component is
 * set up: it ends with the component.
 */
export function liveResource<T>(topic: string): Resource<T> {
  const resource = new Resource<T>();
  $effect(() => {
    void resource.load(topic);
    const unlisten = live.listen(topic, (data) => {
      resource.cancel();
      resource.data = data as T;
      resource.error = "";
    });
    return () => {
      unlisten();
      resource.cancel();
    };
  });
  return resource;
}
