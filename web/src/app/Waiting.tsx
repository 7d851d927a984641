/** The shape of a page that is not in a browser yet. */
export function Waiting() {
  return (
    <div className="grid grid-cols-1 gap-6 lg:grid-cols-[25rem_minmax(0,1fr)]" aria-hidden="true">
      <div className="skeleton h-44 rounded-3xl" />
      <div className="skeleton h-96 rounded-3xl" />
    </div>
  );
}
