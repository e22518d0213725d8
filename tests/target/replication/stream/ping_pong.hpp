// A load for streams: writes at a depth and their acks. Nothing of it allocates, so what is counted is the stream's.
#pragma once

#include "tests/target/replication/stream/stream_world.hpp"

namespace mpath::target::replication::test {

inline StreamHead write_head(std::uint64_t sequence, std::size_t bytes) {
  return {.op = StreamOp::write,
          .sequence = sequence,
          .offset = sequence * 4096,
          .length = bytes,
          .body_bytes = static_cast<std::uint32_t>(bytes)};
}

struct Ping : PeerStream::Receiver {
  PeerStream* stream = nullptr;
  iovec part{};
  std::uint64_t left = 0, answered = 0;
  void send_one() {
    --left;
    stream->send(write_head(left + 1, part.iov_len), {&part, 1});
  }
  // Sends `messages` of them, `depth` at a time, and waits for the last ack.
  void run(Shard& shard, std::uint64_t messages, std::uint64_t depth) {
    left = messages;
    answered = 0;
    for (std::uint64_t index = 0; index < depth; ++index) send_one();
    while (answered < messages) shard.context().run_one();
  }
  void on_message(const StreamHead&, Buffer) override {
    ++answered;
    if (left > 0) send_one();
  }
  void on_closed(const std::string& why) override { ADD_FAILURE() << why; }
};

struct Pong : PeerStream::Receiver {
  PeerStream* stream = nullptr;
  void on_message(const StreamHead& head, Buffer) override {
    stream->send({.op = StreamOp::ack, .sequence = head.sequence}, {});
  }
  void on_closed(const std::string& why) override { ADD_FAILURE() << why; }
};

// Slabs and pools fill when more piles up than is counted later, on a machine however slow. Not so much that the pool
// gives back to the system what it is to keep.
constexpr std::uint64_t depth_counted = 32, depth_to_fill = 2 * depth_counted;

// A wake is a wait that is armed and one that returns.
inline std::uint64_t calls_of(const StreamCounters& counters) {
  return counters.receives + counters.sends + 2 * counters.wakes;
}

}  // namespace mpath::target::replication::test
