/** The types of alhena-visitor.js, which keeps the chat widget's two fingerprints for the shop's server. */

/** What a shop may set in `window.alhenaVisitor` before the script runs. All are optional. */
export interface AlhenaVisitorOptions {
  /** The cookie's path; default "/". */
  path?: string;
  /** The cookie's lifetime in seconds; default 86400, a day. */
  maxAge?: number;
  /**
   * Whether the visitor has consented. Asked at every look; only `true`, or a promise of it, is a yes. Without this
   * function a script that cannot see its own tag does nothing.
   */
  consent?(): boolean | PromiseLike<boolean>;
  /** Absent as long as the script has not run: tells both apart. */
  header?: undefined;
  ready?: undefined;
}

/** What stands in `window.alhenaVisitor` once the script has run. */
export interface AlhenaVisitor {
  /**
   * The value for the header `X-Alhena-Visitor`; null without a pair or without consent. Ask before each request, and
   * never keep it.
   */
  header(): string | null;
  /**
   * That value as soon as there is one; null when there is no consent, or nothing came within half a minute. Never
   * rejects.
   */
  readonly ready: Promise<string | null>;
  /**
   * Tell the script what the visitor decided: `true` makes it ask your function again, and look, now; `false` removes
   * the cookie at once, whatever is under way.
   */
  consent(answer: boolean): void;
}

declare global {
  interface Window {
    /** The shop's options before the script has run, then what the script offers: `if (it?.header)` it has run. */
    alhenaVisitor?: AlhenaVisitorOptions | AlhenaVisitor;
  }
}
