import { answered, ApiFailure } from '../api/client';
import { Surprise } from './useExperiment';

/** What a route of the playground's own answers; `missing` tells people where the service has no such route. */
export async function offered<T>(
  call: Parameters<typeof answered<T>>[0],
  missing: string,
): Promise<T> {
  const { data } = await answered(call).catch((error: unknown) => {
    if (error instanceof ApiFailure && error.problem?.code === 'not_found') {
      throw new Surprise(missing);
    }
    throw error;
  });
  return data;
}
