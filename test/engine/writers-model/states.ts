import { same, sameAll } from '../model/compare.js';
import type { Trainer } from './trainer.js';

/** What the run says of how far each writer is, and whom the others wait for; no fold may be under way. */
export function checkStates({ run, generation }: Trainer): void {
  const { inFlight, clients } = generation;
  const states = run.writerStates;
  const waitedFor = inFlight.flights.filter(({ whole }) => whole.size > 0);
  for (const [number, state] of states.entries()) {
    const { stream, part } = clients[number]!;
    const receiving = inFlight.receiving.get(number);
    same(state.writer, number, 'number of a writer');
    same(state.isConnected, stream !== undefined, `connection of writer ${number}`);
    same(state.step, inFlight.wholeSteps.get(number), `newest step of writer ${number}`);
    same(state.receivingStep, receiving?.step, `step that writer ${number} is at`);
    same(state.receivedBytes, receiving?.bytes ?? 0, `bytes of writer ${number}`);
    same(state.stepBytes, part?.stepBytes ?? 0, `step bytes of writer ${number}`);
    const behind = waitedFor.filter(({ whole }) => !whole.has(number)).map(({ script }) => script.step);
    sameAll(state.behind, behind, `steps that wait for writer ${number}`);
  }
}
