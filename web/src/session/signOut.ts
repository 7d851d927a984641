import { forgetDrafts } from '../intent/store';
import { forgetAsk } from '../requests/draft';
import { leave } from './session';

/** Signs out of this window. The next person at this computer finds nothing that was typed. */
export async function signOut(): Promise<void> {
  forgetAsk();
  await forgetDrafts();
  leave();
}
