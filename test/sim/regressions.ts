/** Seeds that once failed, each with one line on what it found. They stay for ever. */
import type { SimOptions } from "../../src/testing/index.ts";

export const REGRESSIONS: readonly (SimOptions & { readonly found: string })[] = [];
