import { whyReadFailed } from '../api/problems';
import { Trouble } from '../app/Trouble';

interface Props {
  people: { isError: boolean; error: unknown; refetch: () => unknown };
}

/** Where the people should be, and could not be read. */
export function PeopleTrouble({ people }: Props) {
  return people.isError ? (
    <Trouble
      title="The people cannot be shown"
      why={whyReadFailed(people.error)}
      again={() => void people.refetch()}
    />
  ) : null;
}
