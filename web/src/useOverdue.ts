import { useEffect, useState } from 'react';

/** Whether `isWaiting` has been true for so many ms without a break. */
export function useOverdue(isWaiting: boolean, afterMs: number): boolean {
  const [isOverdue, setIsOverdue] = useState(false);
  useEffect(() => {
    if (!isWaiting) return;
    const timer = setTimeout(() => setIsOverdue(true), afterMs);
    return () => {
      clearTimeout(timer);
      setIsOverdue(false);
    };
  }, [isWaiting, afterMs]);
  return isWaiting && isOverdue;
}
