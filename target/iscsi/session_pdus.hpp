// How the session's files send a PDU. Inside target/iscsi only.
#pragma once

#include <type_traits>
#include <utility>

#include "target/iscsi/session.hpp"

namespace mpath::target {

// Numbers the PDU, encodes it and queues it. `body` must live as long as the command, or be `own`.
template <typename Pdu>
OutPdu& Session::send(Member& member, Pdu pdu, bool numbered, Command* command, std::span<const std::byte> body,
                      Buffer own) {
  OutPdu& out = pdus_.get();
  out.numbered = numbered;
  out.stat_sn = member.stat_sn;
  if (numbered || !std::is_same_v<Pdu, iscsi::DataIn>) pdu.stat_sn = member.stat_sn;
  if (numbered) ++member.stat_sn;
  pdu.exp_cmd_sn = window_.expected();
  pdu.max_cmd_sn = window_.max();
  if constexpr (requires { pdu.data_length; }) pdu.data_length = static_cast<std::uint32_t>(body.size());
  iscsi::encode(pdu, out.header());
  out.body = body;
  out.own = std::move(own);
  out.command = command;
  if (command != nullptr) ++command->out_pdus;
  member.link.send(out);
  return out;
}

}  // namespace mpath::target
