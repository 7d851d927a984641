'use client';

import { useEffect } from 'react';

const PLACES = 'payonce.places';

/** Places are kept for so many entries of the window's history. */
const PLACES_MAX = 50;

/** A page that has not become long enough by then will not. */
const PATIENCE_MS = 5_000;

/** Events by which a person says that he wants to be elsewhere. */
const MOVES = ['wheel', 'touchstart', 'pointerdown', 'keydown'] as const;

/** How far down one was, in pixels, by the entry of the window's history. */
let places = new Map<string, number>();

/** The entry that is shown. */
function entry(): string {
  const { navigation } = window as { navigation?: { currentEntry: { key: string } | null } };
  return navigation?.currentEntry?.key ?? location.pathname;
}

/**
 * Brings one back to where one was, on the way back and after a reload. The browser does that for
 * a page that is as long as it was at once; this page has to read its payments first.
 */
export function KeepPlace() {
  useEffect(() => {
    let wanted: number | null = null;
    let untilMs = 0;
    const arrive = () => {
      wanted = null;
      for (const move of MOVES) window.removeEventListener(move, arrive);
    };
    const approach = () => {
      if (wanted === null) return;
      if (Math.abs(scrollY - wanted) >= 1) scrollTo({ top: wanted, behavior: 'instant' });
      if (performance.now() >= untilMs) arrive();
      else requestAnimationFrame(approach);
    };
    const goBack = () => {
      arrive();
      const place = places.get(entry());
      if (place === undefined) return;
      wanted = place;
      untilMs = performance.now() + PATIENCE_MS;
      for (const move of MOVES) window.addEventListener(move, arrive, { passive: true });
      approach();
    };
    const note = () => {
      if (wanted === null) places.set(entry(), scrollY);
    };
    read();
    const [load] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
    if (load?.type === 'reload' || load?.type === 'back_forward') goBack();
    window.addEventListener('scroll', note, { passive: true });
    window.addEventListener('popstate', goBack);
    window.addEventListener('pagehide', write);
    return () => {
      arrive();
      window.removeEventListener('scroll', note);
      window.removeEventListener('popstate', goBack);
      window.removeEventListener('pagehide', write);
    };
  }, []);
  return null;
}

function read() {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(PLACES) ?? '[]');
    if (Array.isArray(stored)) places = new Map(stored as [string, number][]);
  } catch {
    // Without it one is at the top after a reload.
  }
}

function write() {
  try {
    sessionStorage.setItem(PLACES, JSON.stringify([...places].slice(-PLACES_MAX)));
  } catch {
    // The browser stores nothing.
  }
}
