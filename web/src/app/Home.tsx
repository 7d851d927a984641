'use client';

import { ApiFailure } from '../api/client';
import { Balance } from '../history/Balance';
import { History } from '../history/History';
import { useAccount } from '../history/useHistory';
import { SendForm } from '../intent/SendForm';
import { useSlip } from '../intent/useSlip';
import { useFollow } from '../live/useFollow';
import { ChoosePerson } from '../people/ChoosePerson';
import { useMe } from '../people/me';
import { useSession } from '../session/session';
import { SignIn } from '../session/SignIn';
import { Trouble } from './Trouble';
import { Waiting } from './Waiting';

/** Send and scroll. */
export function Home() {
  const session = useSession();
  const me = useMe();
  if (me === undefined) return <Waiting />;
  if (session.state === 'out') return <SignIn isRefused={session.isRefused} />;
  if (me === null) return <ChoosePerson />;
  return <Account key={me} me={me} />;
}

/** A person's balance, the form to send, and the history. */
function Account({ me }: { me: number }) {
  const account = useAccount(me);
  const slip = useSlip(me);
  useFollow(me);
  const problem = account.error instanceof ApiFailure ? account.error.problem : null;
  // Then nothing else can be read either; a payment under way or in doubt is still to be followed.
  const isAwaited = slip !== null && (slip.attempt !== null || slip.setAside.length > 0);
  if (problem?.code === 'forbidden' && !account.data && !isAwaited) {
    return (
      <div className="card mx-auto mt-4 max-w-2xl p-6 sm:mt-10 sm:p-10">
        <h1 className="text-3xl font-bold tracking-tight text-balance">Nothing to see here</h1>
        <Trouble
          title="The service does not show this account"
          why={problem.detail}
          again={() => void account.refetch()}
        />
      </div>
    );
  }
  return (
    <div className="grid grid-cols-1 items-start gap-4 sm:gap-6 lg:grid-cols-[25rem_minmax(0,1fr)]">
      <h1 className="sr-only">Send money</h1>
      {/* It stays in sight while one scrolls, where the window is high enough for all of it. */}
      <div className="grid min-w-0 grid-cols-1 gap-4 sm:gap-6 lg:[@media(min-height:60rem)]:sticky lg:[@media(min-height:60rem)]:top-6">
        <Balance me={me} />
        <SendForm me={me} />
      </div>
      <History me={me} />
    </div>
  );
}
