import type { handleUnaryCall, ServerUnaryCall, sendUnaryData, UntypedServiceImplementation } from '@grpc/grpc-js';
import { LAYOUT_PART_BYTES, ShadowkeepError } from '../../common/index.js';
import { shadowWeightsDefinition } from '../../protocol/index.js';
import { PeerGone } from '../calls/call-signal.js';
import { endCall } from '../calls/end-call.js';
import { toStatus } from '../calls/error-status.js';
import type { ResponseStream } from '../calls/write-message.js';
import { nextTurn } from '../loop/in-slices.js';
import { requestDecoder } from '../messages/index.js';
import type { Service } from '../service.js';
import { addAverage } from './add-average.js';
import { deleteRun } from './delete-run.js';
import { getRun, isLargeRun } from './get-run.js';
import { type GetShadowCall, getShadow } from './get-shadow.js';
import { isLargeTable, listRuns } from './list-runs.js';
import { openRun, openRunInParts } from './open-run.js';
import { removeAverage } from './remove-average.js';
import { type UpdateCall, update } from './update.js';
import { type WatchRunCall, watchRun } from './watch-run.js';

/**
 * The service's methods. A request that cannot be decoded reaches its handler as a ShadowkeepError; an answer that is a
 * Buffer is encoded already.
 */
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
  GetShadow: held(shadowWeightsDefinition.GetShadow),
};

function decoding<Request, Response, Method extends Parameters<typeof requestDecoder<Request>>[0]>(
  method: Method & { responseSerialize: (response: Response) => Buffer },
) {
  return { ...encoding(method), requestDeserialize: requestDecoder(method) };
}

function encoding<Response, Method>(method: Method & { responseSerialize: (response: Response) => Buffer }) {
  return {
    ...method,
    responseSerialize: (response: Response | Buffer) =>
      Buffer.isBuffer(response) ? response : method.responseSerialize(response),
  };
}

/**
 * A method whose request reaches the handler as its bytes, in an object. gRPC keeps that object for as long as the
 * call; the handler replaces the bytes in it, so that they can be freed.
 */
function held<Response, Method>(method: Method & { responseSerialize: (response: Response) => Buffer }) {
  return { ...encoding(method), requestDeserialize: (bytes: Buffer) => ({ bytes }) };
}

/** A method whose requests reach the handler as their bytes. */
function undecoded<Method>(method: Method) {
  return { ...method, requestDeserialize: (bytes: Buffer) => bytes };
}

/** The handlers of all methods. Each handler returns or throws, and the wrappers below turn either into a status. */
export function handlers(service: Service): UntypedServiceImplementation {
  return {
    OpenRun: unary(service, openRun),
    OpenRunInParts: clientStreaming(service, openRunInParts),
    GetRun: query(service, isLargeRun, getRun),
    ListRuns: query(service, isLargeTable, listRuns),
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

/**
 * A unary call whose answer may be large. A large answer is made once the transport has room for it, one in each turn.
 */
function query<Request, Response>(
  service: Service,
  isLarge: (service: Service, request: Request) => boolean,
  handle: (service: Service, request: Request) => Promise<Response>,
): handleUnaryCall<Request, Response> {
  const whenRoom = async (call: ServerUnaryCall<Request, Response>): Promise<Response> => {
    if (isLarge(service, call.request)) {
      // The stream's meter releases this room when the stream ends.
      const room = service.transport.meterOf(call)?.claimAnswer(LAYOUT_PART_BYTES);
      await new Promise<void>((resolve) => (room === undefined ? resolve() : room.whenGranted(resolve)));
      await nextTurn();
    }
    return await handle(service, call.request);
  };
  return (call, callback) => {
    answer(call, () => whenRoom(call)).then(
      (response) => callback(null, response),
      (error) => callback(toStatus(error, service.log)),
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

/**
 * Handles a call, unless its only request is an error. The handler of a stream of requests looks at each as it comes.
 */
async function answer<Response>(call: object, handle: () => Promise<Response>): Promise<Response> {
  if ('request' in call && call.request instanceof ShadowkeepError) throw call.request;
  return await handle();
}
