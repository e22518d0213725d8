#include "bench/iscsi_bench_client.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "wire/scsi_data.hpp"

namespace mpath::bench {

using namespace iscsi;

namespace {

constexpr std::size_t staging_bytes = std::size_t{1} << 20;
constexpr std::uint32_t setup_tag = 0xfffffff0;  // no slot has it
constexpr int setup_tries = 10;                  // unit attentions before the first command that counts
constexpr int login_rounds_max = 16;

constexpr std::byte padding[3] = {};

template <typename T>
T or_throw(Result<T> result, const char* what) {
  if (!result) throw std::runtime_error(fmt::format("{}: {}", what, result.error().message()));
  return std::move(*result);
}

Wishes wishes() {
  return {.initial_r2t = false, .immediate_data = true, .max_burst = 1 << 20, .first_burst = 262144};
}

}  // namespace

// ---- before the load -----------------------------------------------------------------------------------------------

IscsiClient::IscsiClient(const IscsiAddress& address, const Load& load, Totals& totals)
    : socket_(connect_tcp(address.portal)),
      load_(load),
      totals_(totals),
      lun_(scsi::lun_field(scsi::Lun{address.lun})),
      pattern_(load),
      slots_(load.depth),
      staging_(staging_bytes),
      payload_(load.size, std::byte{0x5a}),
      to_send_(totals.sends) {
  log_in(address);
  size_bytes_ = capacity_bytes();
  if (size_bytes_ < load.size) throw std::runtime_error("the unit is smaller than one request");
  if (load.size % block_bytes_ != 0) throw std::runtime_error("the size is no multiple of the unit's blocks");
  make_fast(fd());
  to_send_.reserve(4 * load.depth);
}

IscsiClient::Pdu IscsiClient::receive_pdu() {
  Pdu pdu;
  receive_all(fd(), pdu.header.data(), pdu.header.size());
  const Head head = or_throw(decode_head(pdu.header), "the target's PDU");
  pdu.data.resize(head.ahs_length + padded(head.data_length));
  receive_all(fd(), pdu.data.data(), pdu.data.size());
  pdu.data.erase(pdu.data.begin(), pdu.data.begin() + head.ahs_length);
  pdu.data.resize(head.data_length);
  return pdu;
}

void IscsiClient::log_in(const IscsiAddress& address) {
  Negotiation negotiation(Side::initiator, wishes());
  KeyValues pairs{{"InitiatorName", address.initiator}, {"TargetName", address.target}, {"SessionType", "Normal"}};
  const KeyValues offers = negotiation.offers();
  pairs.insert(pairs.end(), offers.begin(), offers.end());
  for (int round = 0; round < login_rounds_max; ++round) {
    const std::vector<std::byte> text = encode_text(pairs);
    HeaderBytes header{};
    encode(LoginRequest{.transit = true,
                        .current = Stage::operational,
                        .next = Stage::full_feature,
                        .data_length = static_cast<std::uint32_t>(text.size()),
                        .isid = {0x80, 0, 0, 0xbe, 0, address.session},
                        .itt = setup_tag,
                        .cmd_sn = cmd_sn_,
                        .exp_stat_sn = exp_stat_sn_},
           header);
    send_all(fd(), header.data(), header.size());
    send_all(fd(), text.data(), text.size());
    send_all(fd(), padding, padded(text.size()) - text.size());
    const Pdu pdu = receive_pdu();
    const LoginResponse answer = or_throw(decode_login_response(pdu.header), "login");
    if (answer.status != LoginStatus::success) {
      throw std::runtime_error(fmt::format("the target refuses the login: {}", name(answer.status)));
    }
    exp_stat_sn_ = answer.stat_sn + 1;
    max_cmd_sn_ = answer.max_cmd_sn;
    pairs = or_throw(negotiation.take(or_throw(decode_text(pdu.data), "login")), "login").replies;
    if (answer.transit && answer.next == Stage::full_feature) {
      agreed_ = negotiation.finish();
      return;
    }
  }
  throw std::runtime_error("the login does not end");
}

std::vector<std::byte> IscsiClient::command_now(const scsi::Cdb& cdb, std::uint32_t length, bool& good) {
  HeaderBytes header{};
  ScsiCommand command{.read = length > 0,
                      .lun = lun_,
                      .itt = setup_tag,
                      .expected_length = length,
                      .cmd_sn = cmd_sn_++,
                      .exp_stat_sn = exp_stat_sn_};
  std::copy_n(cdb.bytes.begin(), std::min<std::size_t>(cdb.length, command.cdb.size()), command.cdb.begin());
  encode(command, header);
  send_all(fd(), header.data(), header.size());
  std::vector<std::byte> data;
  for (;;) {
    const Pdu pdu = receive_pdu();
    const Opcode opcode = or_throw(decode_head(pdu.header), "setup").opcode;
    if (opcode == Opcode::data_in) {
      const DataIn in = or_throw(decode_data_in(pdu.header), "setup");
      note_window(in.max_cmd_sn);
      data.insert(data.end(), pdu.data.begin(), pdu.data.end());
      if (!in.has_status) continue;
      exp_stat_sn_ = in.stat_sn + 1;
      good = in.status == scsi::Status::good;
      return data;
    }
    if (opcode != Opcode::scsi_response) continue;
    const ScsiResponse response = or_throw(decode_scsi_response(pdu.header), "setup");
    note_window(response.max_cmd_sn);
    exp_stat_sn_ = response.stat_sn + 1;
    good = response.response == ResponseCode::completed && response.status == scsi::Status::good;
    return data;
  }
}

std::uint64_t IscsiClient::capacity_bytes() {
  for (int i = 0; i < setup_tries; ++i) {
    bool good = false;
    const std::vector<std::byte> data = command_now(scsi::read_capacity_10_cdb(), 8, good);
    if (!good) continue;
    scsi::Capacity capacity = or_throw(scsi::decode_capacity_10(data), "READ CAPACITY");
    if (capacity.last_lba == 0xffffffff) {
      const std::vector<std::byte> large = command_now(scsi::read_capacity_16_cdb(), 32, good);
      if (!good) continue;
      capacity = or_throw(scsi::decode_capacity_16(large), "READ CAPACITY");
    }
    block_bytes_ = capacity.block_bytes;
    return (capacity.last_lba + 1) * capacity.block_bytes;
  }
  throw std::runtime_error("the unit does not become ready");
}

// ---- the load ------------------------------------------------------------------------------------------------------

void IscsiClient::start(std::uint64_t now) {
  for (std::uint32_t i = 0; i < load_.depth; ++i) waiting_.push_back(load_.depth - 1 - i);
  ask_waiting(now);
  to_send_.flush(fd());
}

std::uint64_t IscsiClient::on_ready(std::uint64_t now, bool more) {
  const std::uint64_t answered = receive(now, more);
  if (more) {
    ask_waiting(now);
  } else {
    waiting_.clear();
  }
  to_send_.flush(fd());
  if (to_send_.empty()) answers_.clear();
  return answered;
}

void IscsiClient::note_window(std::uint32_t max_cmd_sn) {
  if (sn_before(max_cmd_sn_, max_cmd_sn)) max_cmd_sn_ = max_cmd_sn;
}

void IscsiClient::ask_waiting(std::uint64_t now) {
  while (!waiting_.empty() && !sn_before(max_cmd_sn_, cmd_sn_)) {
    const std::uint32_t index = waiting_.back();
    waiting_.pop_back();
    ask(index, now);
  }
}

void IscsiClient::ask(std::uint32_t index, std::uint64_t now) {
  Slot& slot = slots_[index];
  slot.started = now;
  slot.busy = true;
  slot.data_out.clear();
  const bool reads = pattern_.next_is_read();
  const std::uint64_t lba = pattern_.next_offset(size_bytes_) / block_bytes_;
  const std::uint32_t blocks = load_.size / block_bytes_;
  const scsi::Cdb cdb = reads ? scsi::read_cdb(lba, blocks) : scsi::write_cdb(lba, blocks);
  const std::uint32_t unasked = reads ? 0 : std::min(load_.size, agreed_.first_burst);
  const std::uint32_t immediate = agreed_.immediate_data ? std::min(unasked, agreed_.send_segment_max) : 0;
  const bool more_unasked = !agreed_.initial_r2t && unasked > immediate;
  ScsiCommand command{.final = !more_unasked,
                      .read = reads,
                      .write = !reads,
                      .data_length = immediate,
                      .lun = lun_,
                      .itt = index,
                      .expected_length = load_.size,
                      .cmd_sn = cmd_sn_++,
                      .exp_stat_sn = exp_stat_sn_};
  std::copy_n(cdb.bytes.begin(), std::min<std::size_t>(cdb.length, command.cdb.size()), command.cdb.begin());
  encode(command, slot.command);
  to_send_.add(slot.command.data(), slot.command.size());
  if (immediate > 0) to_send_.add(payload_.data(), immediate);
  if (immediate % 4 != 0) to_send_.add(padding, padded(immediate) - immediate);
  if (more_unasked) send_data(slot, index, reserved_tag, immediate, unasked - immediate);
  ++in_flight_;
}

void IscsiClient::send_data(Slot& slot, std::uint32_t itt, std::uint32_t ttt, std::uint32_t offset,
                            std::uint32_t length) {
  for (std::uint32_t sn = 0; length > 0; ++sn) {
    const std::uint32_t part = std::min(length, agreed_.send_segment_max);
    HeaderBytes& header = slot.data_out.emplace_back();
    encode(DataOut{.final = part == length,
                   .data_length = part,
                   .lun = lun_,
                   .itt = itt,
                   .ttt = ttt,
                   .exp_stat_sn = exp_stat_sn_,
                   .data_sn = sn,
                   .buffer_offset = offset},
           header);
    to_send_.add(header.data(), header.size());
    to_send_.add(payload_.data() + offset, part);
    if (part % 4 != 0) to_send_.add(padding, padded(part) - part);
    offset += part;
    length -= part;
  }
}

std::uint64_t IscsiClient::receive(std::uint64_t now, bool more) {
  std::memmove(staging_.data(), staging_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  ++totals_.receives;
  const ssize_t got = ::recv(fd(), staging_.data() + end_, staging_.size() - end_, 0);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return 0;
    throw_errno("recv");
  }
  if (got == 0) throw std::runtime_error("the target closed the connection");
  end_ += static_cast<std::size_t>(got);

  std::uint64_t answered = 0;
  for (;;) {
    const std::uint64_t skipped = std::min<std::uint64_t>(skip_, end_ - begin_);
    begin_ += skipped;
    skip_ -= skipped;
    if (skip_ > 0 || end_ - begin_ < bhs_bytes) return answered;
    const Bhs bhs(staging_.data() + begin_, bhs_bytes);
    const Head head = or_throw(decode_head(bhs), "the target's PDU");
    begin_ += bhs_bytes;
    skip_ = head.ahs_length + padded(head.data_length);
    if (take(bhs, head, now, more)) ++answered;
  }
}

bool IscsiClient::take(Bhs bhs, const Head& head, std::uint64_t now, bool more) {
  if (head.opcode == Opcode::data_in) {
    const DataIn in = or_throw(decode_data_in(bhs), "Data-In");
    note_window(in.max_cmd_sn);
    if (!in.has_status) return false;
    exp_stat_sn_ = in.stat_sn + 1;
    return ended(in.itt, in.status == scsi::Status::good, now, more);
  }
  if (head.opcode == Opcode::scsi_response) {
    const ScsiResponse response = or_throw(decode_scsi_response(bhs), "SCSI Response");
    note_window(response.max_cmd_sn);
    exp_stat_sn_ = response.stat_sn + 1;
    const bool good = response.response == ResponseCode::completed && response.status == scsi::Status::good;
    return ended(response.itt, good, now, more);
  }
  if (head.opcode == Opcode::ready_to_transfer) {
    const ReadyToTransfer r2t = or_throw(decode_ready_to_transfer(bhs), "R2T");
    note_window(r2t.max_cmd_sn);
    const bool is_ours = r2t.itt < slots_.size() && slots_[r2t.itt].busy;
    if (!is_ours || r2t.buffer_offset > load_.size || r2t.desired_length > load_.size - r2t.buffer_offset) {
      throw std::runtime_error("the target asks for data that there is not");
    }
    send_data(slots_[r2t.itt], r2t.itt, r2t.ttt, r2t.buffer_offset, r2t.desired_length);
    return false;
  }
  if (head.opcode == Opcode::nop_in) {
    const NopIn nop = or_throw(decode_nop_in(bhs), "NOP-In");
    note_window(nop.max_cmd_sn);
    if (nop.ttt == reserved_tag) return false;
    HeaderBytes& header = answers_.emplace_back();
    encode(NopOut{.immediate = true, .lun = nop.lun, .ttt = nop.ttt, .cmd_sn = cmd_sn_, .exp_stat_sn = exp_stat_sn_},
           header);
    to_send_.add(header.data(), header.size());
    return false;
  }
  throw std::runtime_error(fmt::format("the target sent {} in the middle of the load", name(head.opcode)));
}

bool IscsiClient::ended(std::uint32_t itt, bool good, std::uint64_t now, bool more) {
  if (itt >= slots_.size() || !slots_[itt].busy) throw std::runtime_error("the target answered what was not asked");
  Slot& slot = slots_[itt];
  slot.busy = false;
  if (!good) ++totals_.errors;
  totals_.latency.add(now - slot.started);
  --in_flight_;
  if (more) waiting_.push_back(itt);
  return true;
}

}  // namespace mpath::bench
