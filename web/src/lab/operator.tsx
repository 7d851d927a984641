import { useSession } from '../session/session';
import { TokenCommand } from '../session/TokenCommand';
import { TokenForm } from '../session/TokenForm';

/** Says what is missing, and takes it. */
export function NeedsOperator() {
  const session = useSession();
  return (
    <section aria-labelledby="operator" className="card mb-6 max-w-2xl p-5 sm:p-8">
      <h2 id="operator" className="text-2xl font-bold tracking-tight">
        The experiments need an operator’s token
      </h2>
      <p className="mt-3">
        {session.state === 'in' && 'You are signed in, but not as an operator. '}
        {session.state === 'out' && session.isRefused && 'Your token is not valid any more. '}
        Each experiment opens accounts of its own, which only operators may.{' '}
        <TokenCommand options="--operator" /> prints such a token
        {session.state === 'in' ? '; it takes the place of yours in this window.' : '.'}
      </p>
      <TokenForm />
    </section>
  );
}
