//! Bellhop's routing: baggage, keys, destinations, route table, decision. Pure.
