#include "tests/support/script_initiator.hpp"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/bytes.hpp"
#include "wire/crc32c.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::test {

ScriptInitiator ScriptInitiator::connect(const std::string& address, std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  if (::inet_pton(AF_INET, address.c_str(), &to.sin_addr) != 1) throw ScriptError("no address: " + address);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    throw ScriptError("connect to " + address + ": " + std::strerror(errno));
  }
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return ScriptInitiator(std::move(fd));
}

// ---- requests ------------------------------------------------------------------------------------------------------

iscsi::ScsiCommand ScriptInitiator::command(const scsi::Cdb& cdb, const Transfer& transfer) {
  iscsi::ScsiCommand pdu{.immediate = transfer.immediate,
                         .final = !transfer.more_unasked,
                         .read = transfer.in > 0,
                         .write = transfer.out > 0,
                         .attribute = transfer.attribute,
                         .data_length = transfer.immediate_data,
                         .lun = scsi::lun_field({transfer.lun}),
                         .itt = next_itt++,
                         .expected_length = std::max(transfer.in, transfer.out),
                         .cmd_sn = transfer.immediate ? cmd_sn : cmd_sn++,
                         .exp_stat_sn = exp_stat_sn};
  std::ranges::copy(cdb.view(), pdu.cdb.begin());
  return pdu;
}

iscsi::TaskRequest ScriptInitiator::task(iscsi::TaskFunction function, std::uint64_t lun, std::uint32_t referenced,
                                         std::uint32_t ref_cmd_sn) {
  return {.immediate = true,
          .function = function,
          .lun = scsi::lun_field({lun}),
          .itt = next_itt++,
          .referenced_tag = referenced,
          .cmd_sn = cmd_sn,
          .exp_stat_sn = exp_stat_sn,
          .ref_cmd_sn = ref_cmd_sn};
}

iscsi::NopOut ScriptInitiator::nop(bool immediate) {
  return {
      .immediate = immediate, .itt = next_itt++, .cmd_sn = immediate ? cmd_sn : cmd_sn++, .exp_stat_sn = exp_stat_sn};
}

iscsi::TextRequest ScriptInitiator::text(bool immediate) {
  return {
      .immediate = immediate, .itt = next_itt++, .cmd_sn = immediate ? cmd_sn : cmd_sn++, .exp_stat_sn = exp_stat_sn};
}

iscsi::LogoutRequest ScriptInitiator::logout(iscsi::LogoutReason reason, std::uint16_t which) {
  return {.immediate = true,
          .reason = reason,
          .itt = next_itt++,
          .cid = which,
          .cmd_sn = cmd_sn,
          .exp_stat_sn = exp_stat_sn};
}

iscsi::DataOut ScriptInitiator::data_out(const iscsi::ReadyToTransfer& r2t, std::uint32_t offset, std::uint32_t length,
                                         std::uint32_t data_sn, bool final) const {
  return {.final = final,
          .data_length = length,
          .lun = r2t.lun,
          .itt = r2t.itt,
          .ttt = r2t.ttt,
          .exp_stat_sn = exp_stat_sn,
          .data_sn = data_sn,
          .buffer_offset = offset};
}

// ---- sending -------------------------------------------------------------------------------------------------------

void ScriptInitiator::send_pdu(std::span<const std::byte> bhs, std::span<const std::byte> ahs,
                               std::span<const std::byte> data) {
  Bytes out(bhs.begin(), bhs.end());
  out[4] = static_cast<std::byte>(ahs.size() / 4);
  out.insert(out.end(), ahs.begin(), ahs.end());
  const auto digest = [&](std::size_t from, bool& damage) {
    std::array<std::byte, 4> place{};
    Writer writer(place);
    writer.u32_le(crc32c(std::span(out).subspan(from)) ^ (std::exchange(damage, false) ? 1U : 0U));
    out.insert(out.end(), place.begin(), place.end());
  };
  if (header_digest) digest(0, damage_header_digest);
  const std::size_t data_at = out.size();
  out.insert(out.end(), data.begin(), data.end());
  out.resize(data_at + iscsi::padded(data.size()));
  if (data_digest && !data.empty()) digest(data_at, damage_data_digest);
  send_bytes(out);
}

void ScriptInitiator::send_bytes(std::span<const std::byte> bytes) {
  if (holding_) {
    held_.insert(held_.end(), bytes.begin(), bytes.end());
    return;
  }
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) throw ScriptError(std::string("send: ") + std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
}

void ScriptInitiator::release() {
  holding_ = false;
  const Bytes all = std::exchange(held_, {});
  send_bytes(all);
}

// ---- receiving -----------------------------------------------------------------------------------------------------

// False at the end of the connection; that in the middle of a PDU is an error.
bool ScriptInitiator::receive(std::span<std::byte> bytes) {
  std::size_t got = 0;
  while (got < bytes.size()) {
    pollfd poll{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(patience.count()));
    if (ready == 0) throw ScriptError("nothing came");
    if (ready < 0 && errno == EINTR) continue;
    const ssize_t count = ::recv(socket_.get(), bytes.data() + got, bytes.size() - got, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      if (got == 0) return false;
      throw ScriptError("the connection ended inside a PDU");
    }
    got += static_cast<std::size_t>(count);
  }
  return true;
}

std::optional<SeenPdu> ScriptInitiator::next() {
  for (;;) {
    SeenPdu pdu;
    if (!receive(pdu.bhs)) return std::nullopt;
    const auto head = iscsi::decode_head(pdu.header());
    if (!head) throw ScriptError("an opcode that nobody knows came");
    pdu.opcode = head->opcode;
    pdu.ahs.resize(head->ahs_length);
    pdu.data.resize(iscsi::padded(head->data_length));
    std::array<std::byte, 4> digest{};
    const auto whole = [&](std::span<std::byte> bytes) {
      if (!receive(bytes)) throw ScriptError("the connection ended inside a PDU");
    };
    if (!pdu.ahs.empty()) whole(pdu.ahs);
    if (header_digest) {
      whole(digest);
      Crc32c crc;
      crc.add(pdu.bhs);
      crc.add(pdu.ahs);
      if (Reader(digest).u32_le() != crc.value()) throw ScriptError("a header digest is wrong: " + describe(pdu));
    }
    if (!pdu.data.empty()) whole(pdu.data);
    if (data_digest && !pdu.data.empty()) {
      whole(digest);
      if (Reader(digest).u32_le() != crc32c(pdu.data)) throw ScriptError("a data digest is wrong: " + describe(pdu));
    }
    pdu.data.resize(head->data_length);
    account(pdu);
    if (skip_async && pdu.opcode == iscsi::Opcode::async_message) continue;
    const auto ping = pdu.opcode == iscsi::Opcode::nop_in ? iscsi::decode_nop_in(pdu.header()) : Result<iscsi::NopIn>();
    const bool asks = pdu.opcode == iscsi::Opcode::nop_in && ping && ping->ttt != iscsi::reserved_tag;
    if (!asks || !answer_pings) return pdu;
    send(iscsi::NopOut{
        .immediate = true, .lun = ping->lun, .ttt = ping->ttt, .cmd_sn = cmd_sn, .exp_stat_sn = exp_stat_sn});
  }
}

// Every answer but data without status says how far the target has come.
void ScriptInitiator::account(const SeenPdu& pdu) {
  Reader reader(pdu.header().subspan<24, 12>());
  const std::uint32_t stat_sn = reader.u32();
  exp_cmd_sn = reader.u32();
  max_cmd_sn = reader.u32();
  bool numbered = true;
  if (pdu.opcode == iscsi::Opcode::data_in) {
    const auto data = iscsi::decode_data_in(pdu.header());
    numbered = data && data->has_status;
  } else if (pdu.opcode == iscsi::Opcode::ready_to_transfer) {
    numbered = false;
  } else if (pdu.opcode == iscsi::Opcode::nop_in) {
    const auto nop = iscsi::decode_nop_in(pdu.header());
    numbered = nop && nop->itt != iscsi::reserved_tag;
  }
  if (numbered && stat_sn == exp_stat_sn) ++exp_stat_sn;
}

bool ScriptInitiator::silent() {
  // The second one is answered after everything that the target had posted to itself when it answered the first.
  for (int round = 0; round < 2; ++round) {
    const iscsi::NopOut probe = nop(true);
    send(probe);
    const auto answer = next();
    if (!answer || answer->opcode != iscsi::Opcode::nop_in) return false;
    const auto decoded = iscsi::decode_nop_in(answer->header());
    if (!decoded || decoded->itt != probe.itt) return false;
  }
  return true;
}

bool ScriptInitiator::closed() {
  try {
    return !next().has_value();
  } catch (const ScriptError&) {
    return false;
  }
}

std::string describe(const SeenPdu& pdu) {
  std::string text = iscsi::name(pdu.opcode);
  if (const auto reject = iscsi::decode_reject(pdu.header())) text += std::string(" ") + iscsi::name(reject->reason);
  if (const auto response = iscsi::decode_scsi_response(pdu.header())) {
    text += " status " + std::to_string(static_cast<unsigned>(response->status));
  }
  return text;
}

// ---- exchanges -----------------------------------------------------------------------------------------------------

Seen<iscsi::ScsiResponse> ScriptInitiator::status_of(const iscsi::ScsiCommand& command,
                                                     std::span<const std::byte> data) {
  send(command, data);
  return expect<iscsi::ScsiResponse>();
}

ScriptInitiator::ReadResult ScriptInitiator::read_of(const iscsi::ScsiCommand& command) {
  send(command);
  ReadResult result;
  for (;;) {
    const auto pdu = next();
    if (!pdu) throw ScriptError("the connection ended inside a read");
    if (const auto data = iscsi::decode_data_in(pdu->header())) {
      if (data->itt != command.itt) throw ScriptError("data of another task");
      if (data->data_sn != result.pdus) throw ScriptError("DataSN out of order");
      if (data->buffer_offset != result.data.size()) throw ScriptError("data out of order");
      ++result.pdus;
      result.data.insert(result.data.end(), pdu->data.begin(), pdu->data.end());
      if (!data->has_status) continue;
      result.status = data->status;
      result.residual = data->residual;
      result.overflow = data->residual_overflow;
      result.underflow = data->residual_underflow;
      return result;
    }
    const auto response = iscsi::decode_scsi_response(pdu->header());
    if (!response) throw ScriptError("expected data or status, got " + describe(*pdu));
    result.status = response->status;
    result.residual = response->residual;
    result.overflow = response->residual_overflow;
    result.underflow = response->residual_underflow;
    const auto sense = iscsi::response_sense(pdu->data);
    result.sense.assign(sense.begin(), sense.end());
    return result;
  }
}

Seen<iscsi::ScsiResponse> ScriptInitiator::write_of(const iscsi::ScsiCommand& command, std::span<const std::byte> data,
                                                    std::uint32_t segment_max) {
  send(command, data.first(command.data_length));
  for (;;) {
    const auto pdu = next();
    if (!pdu) throw ScriptError("the connection ended inside a write");
    if (const auto response = iscsi::decode_scsi_response(pdu->header())) return {*response, pdu->data};
    const auto r2t = iscsi::decode_ready_to_transfer(pdu->header());
    if (!r2t) throw ScriptError("expected R2T or status, got " + describe(*pdu));
    hold();
    std::uint32_t data_sn = 0;
    for (std::uint32_t done = 0; done < r2t->desired_length;) {
      const std::uint32_t part = std::min(segment_max, r2t->desired_length - done);
      const std::uint32_t offset = r2t->buffer_offset + done;
      done += part;
      send(data_out(*r2t, offset, part, data_sn++, done == r2t->desired_length), data.subspan(offset, part));
    }
    release();
  }
}

iscsi::LoginStatus ScriptInitiator::login(const iscsi::KeyValues& keys) {
  const Bytes text = iscsi::encode_text(keys);
  iscsi::LoginRequest request{.transit = true,
                              .current = iscsi::Stage::operational,
                              .next = iscsi::Stage::full_feature,
                              .isid = isid,
                              .tsih = tsih,
                              .itt = next_itt++,
                              .cid = cid,
                              .cmd_sn = cmd_sn,
                              .exp_stat_sn = 0};
  send(request, text);
  for (;;) {
    const auto answer = expect<iscsi::LoginResponse>();
    exp_stat_sn = answer.stat_sn + 1;
    if (const auto pairs = iscsi::decode_text(answer.data)) {
      login_answers.insert(login_answers.end(), pairs->begin(), pairs->end());
    }
    if (answer.status != iscsi::LoginStatus::success) return answer.status;
    if (answer.transit && answer.next == iscsi::Stage::full_feature) {
      tsih = answer.tsih;
      return answer.status;
    }
    request.exp_stat_sn = exp_stat_sn;
    request.current = answer.transit ? answer.next : answer.current;
    send(request);
  }
}

}  // namespace mpath::test
