/** From a state database to what a member works with: its machine, and the configuration as of the applied index. */
import { StoreError } from "../base/errors.ts";
import { type Budget, runSlice } from "../kv/slices.ts";
import { type Machine, MachineLoader } from "../machine/machine.ts";
import { KEY_SPACE } from "../machine/state-store.ts";
import type { Clock } from "../platform/clock.ts";
import { decodeConfState } from "../raft/codec.ts";
import type { ConfState } from "../raft/membership-types.ts";
import type { StateBackend } from "../storage/state-backend.ts";

/** Key of the Raft configuration as of the applied index, in the state. */
export const CONF_KEY: Uint8Array = Uint8Array.of(KEY_SPACE.conf);

/** Steps of loading in one turn: a few milliseconds. */
const LOAD_STEPS_PER_TURN = 8_192;

/** Builds the machine from a state's records, in slices, so that heartbeats go on meanwhile. */
export async function loadMachine(state: StateBackend, clock: Clock): Promise<Machine> {
  const loader = new MachineLoader();
  await state.scan((key, value) => loader.record(key, value));
  return await finishMachine(loader, state, clock);
}

/** The same once `loader` has seen all of the state's records. */
export async function finishMachine(loader: MachineLoader, state: StateBackend, clock: Clock): Promise<Machine> {
  const budget: Budget = { left: 0 };
  const applied = { index: state.appliedIndex, term: state.appliedTerm };
  const work = loader.finishInSlices({ store: state, applied }, budget);
  for (;;) {
    const machine = runSlice(work, budget, LOAD_STEPS_PER_TURN);
    if (machine !== undefined) return machine;
    await new Promise<void>((resolve) => clock.defer(resolve));
  }
}

/** Every state has one from its birth on. */
export function decodeConf(bytes: Uint8Array | undefined): ConfState {
  if (bytes === undefined) {
    throw new StoreError("STATE_CORRUPT", {
      message: "quorate: the state database is damaged: it lacks the configuration",
    });
  }
  return decodeConfState(bytes);
}

export function confOf(state: StateBackend): ConfState {
  return decodeConf(state.read(CONF_KEY));
}
