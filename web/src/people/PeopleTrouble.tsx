import { whyReadFailed } from '../api/problems';
import { Trouble } from '../app/Trouble';
import type { usePeople } from './people';

/** Where the people should be, and could not be read. */
export function PeopleTrouble({ people }: { people: ReturnType<typeof usePeople> }) {
  return people.isError ? (
    <Trouble
      title="The people cannot be shown"
      why={whyReadFailed(people.error)}
      again={() => void people.refetch()}
    />
  ) : null;
}
