// Gives the SDK the EventSource of the npm package `eventsource`, of a version that many applications still use.
import EventSource from 'eventsource';

globalThis.EventSource = EventSource;
