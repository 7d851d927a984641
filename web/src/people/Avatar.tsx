const letters = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** A person's initial on a colour of their own. */
export function Avatar({
  id,
  name,
  size = 'size-11',
}: {
  id: number;
  name: string;
  size?: string;
}) {
  // The golden angle keeps neighbours apart.
  const hue = (id * 137.508 + 40) % 360;
  return (
    <span
      aria-hidden="true"
      className={`${size} grid shrink-0 place-items-center overflow-clip rounded-full font-semibold text-white`}
      style={{ background: `oklch(0.47 0.11 ${hue})` }}
    >
      {[...letters.segment(name)][0]?.segment.toUpperCase()}
    </span>
  );
}
