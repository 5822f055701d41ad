/** Lease records in a Map, as a state would hold them. */
import type { LeaseId } from "../../src/base/ids.ts";
import type { LeaseRecord, LeaseRecords } from "../../src/lease/lessor.ts";

export class MapRecords implements LeaseRecords {
  readonly byId = new Map<LeaseId, LeaseRecord>();
  writes = 0;

  write(record: LeaseRecord): void {
    this.writes += 1;
    this.byId.set(record.id, record);
  }

  delete(id: LeaseId): void {
    this.byId.delete(id);
  }
}
