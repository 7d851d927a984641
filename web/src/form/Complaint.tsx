/** A reason why a field is not taken, beside it. */
export function Complaint({ id, text }: { id: string; text: string | undefined }) {
  return text ? (
    <p id={id} role="alert" className="mt-1 font-medium text-bad">
      {text}
    </p>
  ) : null;
}
