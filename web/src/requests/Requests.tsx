'use client';

import { useId, useState } from 'react';
import { Waiting } from '../app/Waiting';
import { Fate } from '../intent/Fate';
import { usePay } from '../intent/usePay';
import { useFollow } from '../live/useFollow';
import { ChoosePerson } from '../people/ChoosePerson';
import { useMe } from '../people/me';
import { useSession } from '../session/session';
import { SignIn } from '../session/SignIn';
import { AskForm } from './AskForm';
import { List } from './List';

/** What is asked of one, and of others by one. */
export function Requests() {
  const session = useSession();
  const me = useMe();
  if (me === undefined) return <Waiting />;
  if (session.state === 'out') return <SignIn isRefused={session.isRefused} />;
  if (me === null) return <ChoosePerson />;
  return <Of key={me} me={me} />;
}

function Of({ me }: { me: number }) {
  const paying = usePay(me);
  useFollow(me);
  const [isOpenOnly, setIsOpenOnly] = useState(true);
  const id = useId();
  return (
    <div className="grid grid-cols-1 items-start gap-4 sm:gap-6 lg:grid-cols-[minmax(0,1fr)_25rem]">
      <div className="grid min-w-0 grid-cols-1 gap-4 sm:gap-6">
        <div>
          <div className="flex flex-wrap items-center justify-between gap-3 px-1">
            <h1 className="text-3xl font-bold tracking-tight">Requests</h1>
            <fieldset className="flex gap-1 rounded-full bg-card p-1 shadow-card">
              <legend className="sr-only">Which requests</legend>
              {[true, false].map((isOpen) => (
                <label
                  key={String(isOpen)}
                  className="cursor-pointer rounded-full px-4 py-2 font-medium text-muted has-checked:bg-accent has-checked:text-on-accent has-focus-visible:outline-3 has-focus-visible:outline-accent"
                >
                  <input
                    type="radio"
                    name={`${id}-which`}
                    className="sr-only"
                    checked={isOpenOnly === isOpen}
                    onChange={() => setIsOpenOnly(isOpen)}
                  />
                  {isOpen ? 'Open' : 'All'}
                </label>
              ))}
            </fieldset>
          </div>
          {paying.why && (
            <p role="alert" className="mt-4 rounded-2xl bg-bad-soft p-4 text-bad">
              {paying.why}
            </p>
          )}
          <Fate me={me} />
        </div>
        <List
          me={me}
          title="Asked of you"
          direction="incoming"
          isOpenOnly={isOpenOnly}
          none={isOpenOnly ? 'Nobody asks you for money right now.' : 'Nobody has asked you yet.'}
          paying={paying}
        />
        <List
          me={me}
          title="You have asked"
          direction="outgoing"
          isOpenOnly={isOpenOnly}
          none={isOpenOnly ? 'None of your requests is open.' : 'You have asked nobody yet.'}
          paying={paying}
        />
      </div>
      <AskForm me={me} />
      {paying.dialog}
    </div>
  );
}
