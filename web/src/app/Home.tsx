'use client';

import { Balance } from '../history/Balance';
import { History } from '../history/History';
import { SendForm } from '../intent/SendForm';
import { ChoosePerson } from '../people/ChoosePerson';
import { useMe } from '../people/me';
import { useSession } from '../session/session';
import { SignIn } from '../session/SignIn';

/** Send and scroll. */
export function Home() {
  const session = useSession();
  const me = useMe();
  if (me === undefined) return <Waiting />;
  if (session.state === 'out') return <SignIn isRefused={session.isRefused} />;
  if (me === null) return <ChoosePerson />;
  return (
    <div className="grid items-start gap-4 sm:gap-6 lg:grid-cols-[25rem_minmax(0,1fr)]" key={me}>
      <h1 className="sr-only">Send money</h1>
      {/* It stays in sight while one scrolls, where the window is high enough for all of it. */}
      <div className="grid min-w-0 gap-4 sm:gap-6 lg:[@media(min-height:60rem)]:sticky lg:[@media(min-height:60rem)]:top-6">
        <Balance me={me} />
        <SendForm me={me} />
      </div>
      <History me={me} />
    </div>
  );
}

function Waiting() {
  return (
    <div className="grid gap-6 lg:grid-cols-[25rem_minmax(0,1fr)]" aria-hidden="true">
      <div className="skeleton h-44 rounded-3xl" />
      <div className="skeleton h-96 rounded-3xl" />
    </div>
  );
}
