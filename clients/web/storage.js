// What the browser remembers of this page: for ever, or as long as the tab. Where it keeps nothing (it
// is full, or its settings say so), as long as the page.

const here = new Map();

/** The text kept under a name, or null. `kind`: localStorage or sessionStorage. */
export function recall(name, kind = "localStorage") {
  if (here.has(name)) return here.get(name);
  try {
    return globalThis[kind].getItem(name);
  } catch {
    return null;
  }
}

/** Keeps a text under a name -> whether longer than this page. */
export function store(name, text, kind = "localStorage") {
  try {
    globalThis[kind].setItem(name, text);
    here.delete(name);
    return true;
  } catch {
    here.set(name, text);
    return false;
  }
}

/** Keeps nothing under a name. */
export function forget(name, kind = "localStorage") {
  here.delete(name);
  try {
    globalThis[kind].removeItem(name);
  } catch {
    // there is nothing, then
  }
}
