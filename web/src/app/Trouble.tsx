/** Says what went wrong, and offers to try again. */
export function Trouble({ title, why, again }: { title: string; why: string; again?: () => void }) {
  return (
    <div role="alert" className="mt-4 rounded-2xl bg-bad-soft p-4">
      <p className="font-semibold text-bad">{title}</p>
      <p className="mt-1">{why}</p>
      {again && (
        <button type="button" onClick={again} className="button button-quiet mt-3">
          Try again
        </button>
      )}
    </div>
  );
}
