/**
 * The memory of a window, or of the browser, of who is here. Where the browser forbids the page to store
 * anything, or has no room, it is remembered until the window is reloaded.
 */

/** `session`: of this window, until it is closed; `local`: of all windows. */
type Place = 'session' | 'local';

const forNow = new Map<string, string>();

function storageOf(place: Place): Storage {
  // Even to name it may be forbidden.
  return place === 'session' ? window.sessionStorage : window.localStorage;
}

export function recall(place: Place, name: string): string | null {
  const text = forNow.get(place + name);
  if (text !== undefined) return text;
  try {
    return storageOf(place).getItem(name);
  } catch {
    return null;
  }
}

export function remember(place: Place, name: string, text: string) {
  forNow.delete(place + name);
  try {
    storageOf(place).setItem(name, text);
  } catch {
    forNow.set(place + name, text);
  }
}

export function forget(place: Place, name: string) {
  forNow.delete(place + name);
  try {
    storageOf(place).removeItem(name);
  } catch {
    // Nothing was stored there.
  }
}
