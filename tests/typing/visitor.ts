import "alhena-visitor";
import type { AlhenaVisitor, AlhenaVisitorOptions } from "alhena-visitor";

// What is right compiles.
const all: AlhenaVisitorOptions = { path: "/shop", maxAge: 3600, consent: async () => true };
window.alhenaVisitor = all;
window.alhenaVisitor = {};
window.alhenaVisitor = { consent: () => false };

export function headers(): Record<string, string> {
  const claim: string | null | undefined = window.alhenaVisitor?.header?.();
  return claim ? { "X-Alhena-Visitor": claim } : {};
}

export async function started(visitor: AlhenaVisitor): Promise<string> {
  const claim: string | null = await visitor.ready;
  visitor.consent(false);
  return claim ?? visitor.header() ?? Object.keys(headers()).join();
}

const known: Window["alhenaVisitor"] = window.alhenaVisitor as Window["alhenaVisitor"];
if (known?.header) {
  known.consent(true);
  void started(known);
}

// What is wrong does not.
// @ts-expect-error the lifetime is a number of seconds
window.alhenaVisitor = { maxAge: "3600" };
// @ts-expect-error consent is a function, never an answer
window.alhenaVisitor = { consent: true };
// @ts-expect-error what is no option is a misspelt one
window.alhenaVisitor = { maxage: 3600 };
// @ts-expect-error consent answers yes or no
window.alhenaVisitor = { consent: () => "yes" };
// @ts-expect-error there may be no script yet
window.alhenaVisitor.ready;
// @ts-expect-error it is a text or null
const number: number = (known as AlhenaVisitor).header();
// @ts-expect-error the promise is the script's
(known as AlhenaVisitor).ready = Promise.resolve(null);
