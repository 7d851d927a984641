/** The command that prints a token, of the program that serves: `make run` starts another than a deployment. */
export function TokenCommand({ options }: { options: string }) {
  return (
    <>
      <code className="font-mono whitespace-nowrap text-ink">payonce token {options}</code> (with{' '}
      <code className="font-mono">make run</code>:{' '}
      <code className="font-mono text-ink">target/release/payonce-playground token {options}</code>)
    </>
  );
}
