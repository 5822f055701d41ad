/** A small structured logger, which an embedding program may supply. pino's shape, so pino itself fits. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
