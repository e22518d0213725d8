// The tags of the messages of one direction of a connection: StreamAuth::hmac.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.hpp"
#include "wire/hmac.hpp"
#include "wire/replication_stream.hpp"

namespace mpath::target::replication {

class StreamTagger {
 public:
  explicit StreamTagger(const mpath::replication::Key& key) : hmac_(key) {}
  void begin(std::span<const std::byte> head) {
    std::array<std::byte, 8> number{};
    Writer writer(number);
    writer.u64(number_++);
    hmac_.add(number);
    hmac_.add(head);
  }
  void add(std::span<const std::byte> body) { hmac_.add(body); }
  [[nodiscard]] HmacTag end() { return hmac_.finish(); }

 private:
  Hmac hmac_;
  std::uint64_t number_ = 0;  // of the message on this connection: one that is repeated or left out has another
};

}  // namespace mpath::target::replication
