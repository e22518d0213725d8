// One PDU on its way out: header, payload, padding and digests, each where it can be gathered by sendmsg.
//
// Ownership: in a slab of its session. The payload is the command's, or its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/buffer_pool.hpp"
#include "wire/iscsi_pdu.hpp"

namespace mpath::target {

struct Command;

struct OutPdu {
  std::array<std::byte, iscsi::bhs_bytes + iscsi::digest_bytes> head;
  std::uint8_t head_bytes = 0;
  std::uint8_t tail_bytes = 0;
  std::array<std::byte, 4 + iscsi::digest_bytes> tail;  // padding and data digest
  std::span<const std::byte> body;
  Buffer own;                  // of payloads that belong to no command
  Command* command = nullptr;  // kept until this PDU is sent, or acknowledged
  bool numbered = false;       // its StatSN was used up: at ErrorRecoveryLevel 1 it is kept until acknowledged
  std::uint32_t stat_sn = 0;
  OutPdu* next = nullptr;

  [[nodiscard]] std::size_t bytes() const { return head_bytes + body.size() + tail_bytes; }
  [[nodiscard]] iscsi::BhsOut header() { return iscsi::BhsOut(head.data(), iscsi::bhs_bytes); }
};

}  // namespace mpath::target
