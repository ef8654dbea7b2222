// Types of live.js, the live client of Fleetpulse. docs/feed.md explains it, docs/live.md the messages.

/** {topic: {epoch: offset}}: where a client stands in each event topic. */
export type Positions = Record<string, Record<string, number>>;

export type Scalar = string | number | boolean | null;

/** Top-level fields of `data`, each with a value or a list of values; a message passes when every field matches. */
export type Filter = Record<string, Scalar | readonly Scalar[]>;

export interface Subscribed {
  type: "subscribed";
  topic: string;
  policy: "event" | "state";
  epoch: string;
  offset: number;
  recovered: boolean;
  positions?: Record<string, number>;
  id?: number;
}

export interface Event<Data = unknown> {
  type: "event";
  topic: string;
  epoch: string;
  offset: number;
  kind: string;
  data: Data;
  key?: string;
  origin?: string;
}

export interface Update<Data = unknown> {
  type: "update";
  topic: string;
  epoch: string;
  offset: number;
  kind: string;
  data: Data;
  key?: string;
  origin?: string;
}

export interface Snapshot<Data = unknown> {
  type: "snapshot";
  topic: string;
  epoch: string;
  offset: number;
  data: Data[];
  positions?: Record<string, number>;
}

/** On a filtered state topic: the key matches no longer, drop it. */
export interface Left {
  type: "left";
  topic: string;
  epoch: string;
  offset: number;
  key?: string;
  origin?: string;
}

/** The events with offsets `from` to `to` are lost: the server holds them no longer. */
export interface Gap {
  type: "gap";
  topic: string;
  epoch: string;
  offset: number;
  from: number;
  to: number;
}

export interface Position {
  type: "position";
  topic: string;
  epoch: string;
  offset: number;
  positions?: Record<string, number>;
}

/** What becomes of the connection; `detail` says why the last one ended, `retryIn` milliseconds until the next. */
export interface StateChange {
  type: "state";
  state: "connecting" | "connected" | "waiting";
  detail?: string;
  retryIn?: number;
}

/** Something of ours had no effect; `topic` where it was a subscription. */
export interface Refused {
  type: "error";
  code: string;
  message: string;
  topic?: string;
  id?: string | number;
  errors?: { loc: string[]; msg: string }[];
}

export type TopicMessage = Subscribed | Event | Update | Snapshot | Left | Gap | Position;
export type Message = TopicMessage | StateChange | Refused;

export interface Options {
  /** A bearer token, or what gives a fresh one at each connection and shortly before one expires. */
  token?: string | (() => string | null | undefined | Promise<string | null | undefined>);
  /** Those of an earlier page, from `positions`. */
  positions?: Positions;
  /** Bound of the first wait, ms; doubles with each failure. Default 2000. */
  firstDelay?: number;
  /** The longest wait, ms. Default 75000. */
  longestDelay?: number;
  /** A connection that lasted so long (ms) begins with the first wait again. Default 20000. */
  stableAfter?: number;
  /** A number from 0 to 1. Default Math.random. */
  random?: () => number;
}

/** Why a feed ended. `code` is a close code, or that of a problem document. */
export declare class FeedError extends Error {
  constructor(code: number | string, message: string);
  readonly code: number | string;
}

/** What listeners get, by name. `message` is every one of the others but `end`. */
export interface FeedEvents {
  message: CustomEvent<Message>;
  subscribed: CustomEvent<Subscribed>;
  event: CustomEvent<Event>;
  update: CustomEvent<Update>;
  snapshot: CustomEvent<Snapshot>;
  left: CustomEvent<Left>;
  gap: CustomEvent<Gap>;
  position: CustomEvent<Position>;
  state: CustomEvent<StateChange>;
  error: CustomEvent<Refused>;
  end: CustomEvent<FeedError | null>;
}

/** Where a client stands in one topic. */
export declare class Track {
  constructor(known?: Record<string, number>);
  policy: "" | "event" | "state";
  resume(): { epoch: string; offset: number } | { positions: Record<string, number> } | undefined;
  takes(message: TopicMessage): boolean;
}

export declare class LiveFeed extends EventTarget implements AsyncIterable<Message> {
  /** Connects at once; the address is that of the exporter, by default that of the page. */
  constructor(url?: string | URL, options?: Options);
  /** Subscribes, now or as soon as there is a connection; with another filter, anew. */
  subscribe(topic: string, filter?: Filter): void;
  unsubscribe(topic: string): void;
  readonly topics: string[];
  /** Where the program stands in each event topic, to be kept and given to the next feed. */
  readonly positions: Positions;
  /** Why it ended, once it has; null where `close` was called. */
  readonly error?: FeedError | null;
  /** Ends the connection as a network would, to see it repaired. */
  cut(): void;
  close(): void;
  addEventListener<K extends keyof FeedEvents>(
    type: K,
    listener: ((event: FeedEvents[K]) => unknown) | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof FeedEvents>(
    type: K,
    listener: ((event: FeedEvents[K]) => unknown) | null,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
  [Symbol.asyncIterator](): AsyncGenerator<Message, void, undefined>;
}
