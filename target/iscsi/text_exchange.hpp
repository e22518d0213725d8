// Text requests of full feature phase: requests of several PDUs, answers of several PDUs (RFC 7143, 11.10, 11.11).
//
// Pure. One exchange at a time on a connection; a request with the reserved tag begins a new one.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "wire/iscsi_pdu.hpp"
#include "wire/iscsi_text.hpp"

namespace mpath::target {

class TextExchange {
 public:
  enum class Next : std::uint8_t {
    more,    // the request goes on: answer with nothing and wait
    answer,  // the request is whole: request(), then set_answer()
    go_on,   // it asks for the next part of the answer
    refuse,  // it belongs to no exchange, or is too large: reject
  };
  [[nodiscard]] Next take(const iscsi::TextRequest& pdu, std::span<const std::byte> data);
  [[nodiscard]] Result<iscsi::KeyValues> request() const { return iscsi::decode_text(request_); }
  void set_answer(std::span<const iscsi::KeyValue> answer) { answer_ = iscsi::encode_text(answer); }

  // The next part of the answer, at most `bytes_max` long; the PDU's flags and tag are set. Empty for Next::more.
  [[nodiscard]] std::vector<std::byte> part(iscsi::TextResponse& pdu, std::size_t bytes_max);
  void reset() { *this = TextExchange(); }

 private:
  std::vector<std::byte> request_;
  std::vector<std::byte> answer_;
  std::size_t given_ = 0;
  std::uint32_t ttt_ = 0;  // of the exchange that is open; 0: none
  bool whole_ = false;     // the request
  bool final_ = true;      // the initiator's F bit
};

}  // namespace mpath::target
