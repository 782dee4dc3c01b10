import type { handleUnaryCall, sendUnaryData, UntypedServiceImplementation } from '@grpc/grpc-js';
import { ShadowkeepError } from '../../common/index.js';
import { requestDecoder, shadowWeightsDefinition } from '../../wire/index.js';
import { PeerGone } from '../call-signal.js';
import { endCall } from '../end-call.js';
import { toStatus } from '../error-status.js';
import type { Service } from '../service.js';
import type { ResponseStream } from '../write-message.js';
import { addAverage } from './add-average.js';
import { deleteRun } from './delete-run.js';
import { getRun } from './get-run.js';
import { type GetShadowCall, getShadow } from './get-shadow.js';
import { listRuns } from './list-runs.js';
import { openRun, openRunInParts } from './open-run.js';
import { removeAverage } from './remove-average.js';
import { type UpdateCall, update } from './update.js';
import { type WatchRunCall, watchRun } from './watch-run.js';

/** The service's methods: a request is its error when it cannot be decoded, an answer of GetShadow may be encoded already. */
export const definition = {
  OpenRun: undecoded(shadowWeightsDefinition.OpenRun),
  OpenRunInParts: undecoded(shadowWeightsDefinition.OpenRunInParts),
  GetRun: decoding(shadowWeightsDefinition.GetRun),
  ListRuns: decoding(shadowWeightsDefinition.ListRuns),
  AddAverage: decoding(shadowWeightsDefinition.AddAverage),
  RemoveAverage: decoding(shadowWeightsDefinition.RemoveAverage),
  DeleteRun: decoding(shadowWeightsDefinition.DeleteRun),
  Update: decoding(shadowWeightsDefinition.Update),
  WatchRun: decoding(shadowWeightsDefinition.WatchRun),
  GetShadow: {
    ...decoding(shadowWeightsDefinition.GetShadow),
    responseSerialize: (message: Parameters<typeof shadowWeightsDefinition.GetShadow.responseSerialize>[0] | Buffer) =>
      Buffer.isBuffer(message) ? message : shadowWeightsDefinition.GetShadow.responseSerialize(message),
  },
};

function decoding<Request, Method extends Parameters<typeof requestDecoder<Request>>[0]>(method: Method) {
  return { ...method, requestDeserialize: requestDecoder(method) };
}

/** Its requests come as their bytes. */
function undecoded<Method>(method: Method) {
  return { ...method, requestDeserialize: (bytes: Buffer) => bytes };
}

/** Each handler throws or returns; here is the one place that turns both into a status. */
export function handlers(service: Service): UntypedServiceImplementation {
  return {
    OpenRun: unary(service, openRun),
    OpenRunInParts: clientStreaming(service, openRunInParts),
    GetRun: unary(service, getRun),
    ListRuns: unary(service, listRuns),
    AddAverage: unary(service, addAverage),
    RemoveAverage: unary(service, removeAverage),
    DeleteRun: unary(service, deleteRun),
    Update: streaming<UpdateCall>(service, update),
    GetShadow: streaming<GetShadowCall>(service, getShadow),
    WatchRun: streaming<WatchRunCall>(service, watchRun),
  };
}

function unary<Request, Response>(
  service: Service,
  handle: (service: Service, request: Request) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    answer(call, () => handle(service, call.request)).then(
      (response) => callback(null, response),
      (error) => callback(toStatus(error, service.log)),
    );
  };
}

function clientStreaming<Call extends object, Response>(
  service: Service,
  handle: (service: Service, call: Call) => Promise<Response>,
): (call: Call, callback: sendUnaryData<Response>) => void {
  return (call, callback) => {
    handle(service, call).then(
      (response) => callback(null, response),
      (error) => {
        if (!(error instanceof PeerGone)) callback(toStatus(error, service.log));
      },
    );
  };
}

function streaming<Call extends ResponseStream<never>>(
  service: Service,
  handle: (service: Service, call: Call) => Promise<void>,
): (call: Call) => void {
  return (call) => {
    answer(call, () => handle(service, call)).then(
      () => call.end(),
      (error) => {
        if (!(error instanceof PeerGone)) endCall(call, toStatus(error, service.log));
      },
    );
  };
}

/** Handles a call unless its one request is an error. The requests of a stream are looked at as they come. */
async function answer<Response>(call: object, handle: () => Promise<Response>): Promise<Response> {
  if ('request' in call && call.request instanceof ShadowkeepError) throw call.request;
  return await handle();
}
