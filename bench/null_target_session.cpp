#include "bench/null_target_session.hpp"

#include <algorithm>
#include <utility>

#include "wire/scsi_data.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath::bench {

using namespace iscsi;

namespace {

constexpr std::size_t control_data_max = std::size_t{64} << 10;  // data of a PDU that is not write data
constexpr std::uint32_t naa_bytes = 16;
constexpr std::array<std::byte, naa_bytes> naa = {std::byte{0x60}, std::byte{0x01}, std::byte{0x40}, std::byte{0x5f}};
constexpr std::byte padding[4] = {};

Wishes wishes() {
  return {.receive_segment_max = 262144, .max_burst = 0xffffff, .first_burst = 262144, .time2wait = 0};
}

bool carries_write_data(Opcode opcode) {
  return opcode == Opcode::scsi_command || opcode == Opcode::data_out;
}

std::vector<std::byte> inquiry(const scsi::Inquiry& command) {
  if (!command.evpd) {
    return scsi::encode_inquiry(
        {.version = 5, .command_queue = true, .vendor = "MPATH", .product = "NULL", .revision = "1"});
  }
  const std::uint8_t pages[] = {0x00, 0x80, 0x83, 0xb0};
  switch (static_cast<scsi::VpdPage>(command.page)) {
    case scsi::VpdPage::supported:
      return scsi::encode_vpd_supported(pages);
    case scsi::VpdPage::serial_number:
      return scsi::encode_vpd_serial("NULL0001");
    case scsi::VpdPage::device_id: {
      const scsi::Designator id{.type = scsi::DesignatorType::naa, .bytes = {naa.begin(), naa.end()}};
      return scsi::encode_vpd_device_id(std::span(&id, 1));
    }
    case scsi::VpdPage::block_limits:
      return scsi::encode_vpd_block_limits({});
    case scsi::VpdPage::block_characteristics:
    case scsi::VpdPage::provisioning:
    case scsi::VpdPage::extended_inquiry:
    case scsi::VpdPage::mode_page_policy:
    case scsi::VpdPage::scsi_ports:
    case scsi::VpdPage::third_party_copy:
      break;
  }
  return {};
}

}  // namespace

NullSession::NullSession(const NullDisk& disk, std::string local_address)
    : disk_(disk), local_address_(std::move(local_address)), negotiation_(Side::target, wishes()) {
  headers_.reserve(output_max);
  output_.reserve(output_max);
  writes_.resize(disk.window);
}

std::size_t NullSession::take(std::span<const std::byte> in) {
  std::size_t taken = 0;
  while (!finished_ && room()) {
    continue_read();
    if (reading_.at < reading_.length) break;
    const std::size_t skipped = std::min(skip_, in.size() - taken);
    skip_ -= skipped;
    taken += skipped;
    const auto rest = in.subspan(taken);
    if (skip_ > 0 || rest.size() < bhs_bytes) break;
    const auto bhs = rest.first<bhs_bytes>();
    const auto head = decode_head(bhs);
    if (!head || head->ahs_length > 0) {
      finished_ = true;
      break;
    }
    const std::size_t segment = padded(head->data_length);
    if (carries_write_data(head->opcode)) {
      handle(bhs, *head, {});
      skip_ = segment;
      taken += bhs_bytes;
      continue;
    }
    if (segment > control_data_max) finished_ = true;
    if (rest.size() < bhs_bytes + segment) break;
    handle(bhs, *head, rest.subspan(bhs_bytes, head->data_length));
    taken += bhs_bytes + segment;
  }
  return taken;
}

void NullSession::sent(std::size_t bytes) {
  while (bytes > 0) {
    iovec& piece = output_[output_at_];
    if (bytes < piece.iov_len) {
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + bytes;
      piece.iov_len -= bytes;
      return;
    }
    bytes -= piece.iov_len;
    ++output_at_;
  }
  if (output_at_ < output_.size()) return;
  output_at_ = 0;
  output_.clear();
  headers_.clear();
  kept_.clear();
}

void NullSession::handle(Bhs bhs, const Head& head, std::span<const std::byte> data) {
  if (!full_feature_) {
    if (head.opcode == Opcode::login_request) return login(bhs, data);
    finished_ = true;
    return;
  }
  switch (head.opcode) {
    case Opcode::scsi_command:
      return command(bhs);
    case Opcode::data_out:
      return data_out(bhs);
    case Opcode::nop_out:
      return nop_out(bhs, data);
    case Opcode::text_request:
      return text(bhs, data);
    case Opcode::task_request: {
      const auto pdu = decode_task_request(bhs);
      return put(TaskResponse{.itt = pdu->itt}, true);
    }
    case Opcode::logout_request: {
      const auto pdu = decode_logout_request(bhs);
      put(LogoutResponse{.itt = pdu->itt}, true);
      finished_ = true;
      return;
    }
    case Opcode::snack_request:
    case Opcode::login_request:
    case Opcode::nop_in:
    case Opcode::scsi_response:
    case Opcode::task_response:
    case Opcode::login_response:
    case Opcode::text_response:
    case Opcode::data_in:
    case Opcode::logout_response:
    case Opcode::ready_to_transfer:
    case Opcode::async_message:
    case Opcode::reject:
      finished_ = true;
      return;
  }
}

// --- I/O -----------------------------------------------------------------------------------------------------------

void NullSession::command(Bhs bhs) {
  const auto pdu = decode_scsi_command(bhs);
  if (!pdu) {
    finished_ = true;
    return;
  }
  if (!pdu->immediate) exp_cmd_sn_ = pdu->cmd_sn + 1;
  const auto command = scsi::parse_cdb(pdu->cdb);
  if (!command) return check_condition(*pdu, scsi::sense::invalid_opcode);
  if (const auto* read_command = std::get_if<scsi::Read>(&*command)) return read(*pdu, *read_command);
  if (pdu->write) return write(*pdu);
  control(*pdu, *command);
}

void NullSession::read(const ScsiCommand& pdu, const scsi::Read& read) {
  const std::uint64_t length = std::uint64_t{read.blocks} * disk_.block_bytes;
  if (read.lba + read.blocks > disk_.size_bytes / disk_.block_bytes)
    return check_condition(pdu, scsi::sense::lba_out_of_range);
  const auto wanted = static_cast<std::uint32_t>(std::min<std::uint64_t>(length, pdu.expected_length));
  const std::uint32_t residual = pdu.expected_length - wanted;
  if (wanted == 0) return respond(pdu, scsi::Status::good, residual);
  reading_ = {.itt = pdu.itt, .length = wanted, .residual = residual};
  continue_read();
}

void NullSession::continue_read() {
  const auto segment_max = std::min<std::uint32_t>(parameters_.send_segment_max, data_in_bytes_max);
  while (reading_.at < reading_.length && room()) {
    const std::uint32_t segment =
        std::min({reading_.length - reading_.at, segment_max, parameters_.max_burst - reading_.burst});
    const bool last = reading_.at + segment == reading_.length;
    reading_.burst += segment;
    const bool burst_ends = reading_.burst == parameters_.max_burst;
    put(DataIn{.final = last || burst_ends,
               .residual_underflow = last && reading_.residual > 0,
               .has_status = last,
               .data_length = segment,
               .itt = reading_.itt,
               .data_sn = reading_.data_sn++,
               .buffer_offset = reading_.at,
               .residual = last ? reading_.residual : 0},
        last);
    put_data(std::span(disk_.fill).first(segment));
    reading_.at += segment;
    if (burst_ends) reading_.burst = 0;
  }
}

void NullSession::write(const ScsiCommand& pdu) {
  if (pdu.final && pdu.data_length >= pdu.expected_length) return respond(pdu, scsi::Status::good, 0);
  const auto free = std::ranges::find(writes_, false, &Write::busy);
  if (free == writes_.end()) return respond(pdu, scsi::Status::task_set_full, 0);
  *free = {.busy = true, .lun = pdu.lun, .itt = pdu.itt, .length = pdu.expected_length, .received = pdu.data_length};
  ++writes_busy_;
  if (pdu.final) ask_or_finish(static_cast<std::size_t>(free - writes_.begin()));
}

void NullSession::data_out(Bhs bhs) {
  const auto pdu = decode_data_out(bhs);
  const auto found =
      std::ranges::find_if(writes_, [&](const Write& write) { return write.busy && write.itt == pdu->itt; });
  if (found == writes_.end()) return;
  found->received += pdu->data_length;
  if (pdu->final) ask_or_finish(static_cast<std::size_t>(found - writes_.begin()));
}

void NullSession::ask_or_finish(std::size_t slot) {
  Write& write = writes_[slot];
  if (write.received >= write.length) {
    put(ScsiResponse{.itt = write.itt}, true);
    write.busy = false;
    --writes_busy_;
    return;
  }
  put(ReadyToTransfer{.lun = write.lun,
                      .itt = write.itt,
                      .ttt = static_cast<std::uint32_t>(slot),
                      .r2t_sn = write.r2t_sn++,
                      .buffer_offset = write.received,
                      .desired_length = std::min(write.length - write.received, parameters_.max_burst)},
      false);
}

// --- everything else -----------------------------------------------------------------------------------------------

void NullSession::control(const ScsiCommand& pdu, const scsi::Command& command) {
  const scsi::Capacity capacity{.last_lba = disk_.size_bytes / disk_.block_bytes - 1, .block_bytes = disk_.block_bytes};
  const scsi::Lun luns[] = {{0}};
  std::vector<std::byte> data;
  std::size_t length = 0;
  if (const auto* inquiry_command = std::get_if<scsi::Inquiry>(&command)) {
    data = inquiry(*inquiry_command);
    length = inquiry_command->length;
    if (data.empty()) return check_condition(pdu, scsi::sense::invalid_field_in_cdb);
  } else if (std::holds_alternative<scsi::ReadCapacity10>(command)) {
    data = scsi::encode_capacity_10(capacity);
    length = data.size();
  } else if (const auto* capacity_command = std::get_if<scsi::ReadCapacity16>(&command)) {
    data = scsi::encode_capacity_16(capacity);
    length = capacity_command->length;
  } else if (const auto* report = std::get_if<scsi::ReportLuns>(&command)) {
    data = scsi::encode_luns(luns);
    length = report->length;
  } else if (const auto* mode = std::get_if<scsi::ModeSense>(&command)) {
    data = scsi::encode_mode_sense({.dpo_fua = true, .write_cache = true}, mode->short_form);
    length = mode->length;
  } else if (std::holds_alternative<scsi::TestUnitReady>(command) ||
             std::holds_alternative<scsi::SynchronizeCache>(command)) {
    return respond(pdu, scsi::Status::good, 0);
  } else {
    return check_condition(pdu, scsi::sense::invalid_opcode);
  }
  data.resize(std::min({data.size(), length, std::size_t{pdu.expected_length}}));
  const auto residual = static_cast<std::uint32_t>(pdu.expected_length - data.size());
  if (data.empty()) return respond(pdu, scsi::Status::good, residual);
  put(DataIn{.final = true,
             .residual_underflow = residual > 0,
             .has_status = true,
             .data_length = static_cast<std::uint32_t>(data.size()),
             .itt = pdu.itt,
             .residual = residual},
      true);
  put_kept(std::move(data));
}

void NullSession::respond(const ScsiCommand& pdu, scsi::Status status, std::uint32_t residual) {
  put(ScsiResponse{.residual_underflow = residual > 0, .status = status, .itt = pdu.itt, .residual = residual}, true);
}

void NullSession::check_condition(const ScsiCommand& pdu, const scsi::Sense& sense) {
  const auto encoded = scsi::encode_sense({.sense = sense});
  std::vector<std::byte> segment(2);
  segment[1] = static_cast<std::byte>(encoded.length);
  segment.insert(segment.end(), encoded.view().begin(), encoded.view().end());
  put(ScsiResponse{.residual_underflow = pdu.expected_length > 0,
                   .status = scsi::Status::check_condition,
                   .data_length = static_cast<std::uint32_t>(segment.size()),
                   .itt = pdu.itt,
                   .residual = pdu.expected_length},
      true);
  put_kept(std::move(segment));
}

void NullSession::login(Bhs bhs, std::span<const std::byte> data) {
  const auto request = decode_login_request(bhs);
  const auto pairs = decode_text(data);
  finished_ = true;  // unless it turns out well
  if (!request || !pairs || request->continued) return;
  const auto taken = negotiation_.take(*pairs);
  if (!taken) return;
  exp_cmd_sn_ = request->cmd_sn;
  LoginResponse response{.transit = request->transit,
                         .current = request->current,
                         .next = request->next,
                         .isid = request->isid,
                         .tsih = static_cast<std::uint16_t>(request->next == Stage::full_feature ? 1 : 0),
                         .itt = request->itt};
  KeyValues replies = taken->replies;
  if (!std::exchange(named_, true)) {
    const std::string* target = find(taken->others, "TargetName");
    if (target != nullptr && *target != disk_.target_name) response.status = LoginStatus::not_found;
    if (target != nullptr) replies.push_back({.key = "TargetPortalGroupTag", .value = "1"});
  }
  if (find(taken->others, "AuthMethod") != nullptr) replies.push_back({.key = "AuthMethod", .value = "None"});
  if (request->current == Stage::operational && !std::exchange(declared_, true)) {
    for (KeyValue& pair : negotiation_.offers()) replies.push_back(std::move(pair));
  }
  auto text = encode_text(replies);
  response.data_length = static_cast<std::uint32_t>(text.size());
  put(response, true);
  put_kept(std::move(text));
  finished_ = response.status != LoginStatus::success;
  if (response.transit && response.next == Stage::full_feature) {
    full_feature_ = true;
    parameters_ = negotiation_.finish();
  }
}

void NullSession::text(Bhs bhs, std::span<const std::byte> data) {
  const auto pdu = decode_text_request(bhs);
  const auto pairs = decode_text(data);
  if (!pdu || !pairs) {
    finished_ = true;
    return;
  }
  if (!pdu->immediate) exp_cmd_sn_ = pdu->cmd_sn + 1;
  KeyValues replies;
  if (find(*pairs, "SendTargets") != nullptr) {
    replies = {{.key = "TargetName", .value = disk_.target_name},
               {.key = "TargetAddress", .value = local_address_ + ",1"}};
  }
  auto text = encode_text(replies);
  put(TextResponse{.data_length = static_cast<std::uint32_t>(text.size()), .itt = pdu->itt}, true);
  put_kept(std::move(text));
}

void NullSession::nop_out(Bhs bhs, std::span<const std::byte> data) {
  const auto pdu = decode_nop_out(bhs);
  if (!pdu->immediate) exp_cmd_sn_ = pdu->cmd_sn + 1;
  if (pdu->itt == reserved_tag) return;
  put(NopIn{.data_length = static_cast<std::uint32_t>(data.size()), .lun = pdu->lun, .itt = pdu->itt}, true);
  put_kept({data.begin(), data.end()});
}

template <typename Pdu>
void NullSession::put(Pdu pdu, bool takes_stat_sn) {
  pdu.stat_sn = stat_sn_;
  if (takes_stat_sn) ++stat_sn_;
  pdu.exp_cmd_sn = exp_cmd_sn_;
  pdu.max_cmd_sn = exp_cmd_sn_ + disk_.window - 1 - static_cast<std::uint32_t>(writes_busy_);
  auto& header = headers_.emplace_back();
  encode(pdu, header);
  output_.push_back({.iov_base = header.data(), .iov_len = header.size()});
}

void NullSession::put_data(std::span<const std::byte> data) {
  if (data.empty()) return;
  output_.push_back({.iov_base = const_cast<std::byte*>(data.data()), .iov_len = data.size()});
  const std::size_t missing = padded(data.size()) - data.size();
  if (missing > 0) output_.push_back({.iov_base = const_cast<std::byte*>(padding), .iov_len = missing});
}

void NullSession::put_kept(std::vector<std::byte> data) {
  kept_.push_back(std::move(data));
  put_data(kept_.back());
}

}  // namespace mpath::bench
