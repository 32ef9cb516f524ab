// The current route, as state. Pages read router.route and call go or filter.
import { filled, href, parse, sameQuery, type Query, type Route } from "../core/route.ts";

class Router {
  route = $state.raw<Route>(parse(location.hash));

  constructor() {
    addEventListener("hashchange", () => (this.route = parse(location.hash)));
  }

  /** Goes to a place, as a step of the browser's history. */
  go(path: readonly string[], query: Query = {}): void {
    location.hash = href(path, query);
  }

  /** Changes filters of the current page; it replaces the step of the history. */
  filter(change: Readonly<Record<string, string | undefined>>): void {
    const query = filled({ ...this.route.query, ...change });
    if (sameQuery(query, this.route.query)) return;
    this.route = { ...this.route, query };
    history.replaceState(null, "", href([this.route.page, ...this.route.rest], query));
  }
}

/** The one router. */
export const router = new Router();
