#include "wire/scsi_sense.hpp"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "base/bytes.hpp"
#include "wire/error.hpp"

namespace mpath::scsi {
namespace {

enum class ResponseCode : std::uint8_t {
  fixed = 0x70,
  fixed_deferred = 0x71,
  descriptor = 0x72,
  descriptor_deferred = 0x73
};

constexpr std::uint8_t response_code_mask = 0x7f;
constexpr std::uint8_t valid_bit = 0x80;  // INFORMATION holds something
constexpr std::uint8_t key_mask = 0x0f;
constexpr std::uint8_t information_descriptor = 0x00;
constexpr std::uint8_t information_descriptor_bytes = 0x0a;  // after its own two header bytes
constexpr std::uint8_t specific_descriptor = 0x02;
constexpr std::uint8_t specific_descriptor_bytes = 0x06;
constexpr std::uint8_t specific_valid_bit = 0x80;  // SKSV: the sense-key specific bytes hold something
constexpr std::uint8_t specific_in_cdb_bit = 0x40;
constexpr std::uint8_t fixed_bytes = 18;

// A sense byte that the target did not send is zero, which is what it means by leaving it out.
std::uint8_t u8_or_zero(Reader& r) {
  return r.remaining() > 0 ? r.u8() : 0;
}

// SPC-4 4.5.2.4: three bytes whose meaning the sense key gives.
void decode_specific(Reader& r, SenseData& data) {
  const std::uint8_t flags = r.u8();
  const std::uint16_t value = r.u16();
  if (!r.ok() || (flags & specific_valid_bit) == 0) return;
  if (data.sense.key == SenseKey::illegal_request) {
    data.field = value;
    data.field_in_cdb = (flags & specific_in_cdb_bit) != 0;
  } else if (data.sense.key == SenseKey::not_ready || data.sense.key == SenseKey::no_sense) {
    data.progress = value;
  }
}

void encode_specific(const SenseData& data, Writer& w) {
  std::uint8_t flags = data.progress || data.field ? specific_valid_bit : 0;
  if (!data.progress && data.field && data.field_in_cdb) flags |= specific_in_cdb_bit;
  w.u8(flags);
  w.u16(data.progress ? *data.progress : data.field.value_or(0));
}

SenseData decode_fixed(Reader& r, std::uint8_t first) {
  SenseData data;
  const bool valid = (first & valid_bit) != 0;
  u8_or_zero(r);  // obsolete
  data.sense.key = static_cast<SenseKey>(u8_or_zero(r) & key_mask);
  if (r.remaining() >= 4) {
    const std::uint32_t information = r.u32();
    if (valid) data.information = information;
  } else {
    r.rest();
  }
  const std::size_t additional = u8_or_zero(r);
  Reader rest(r.bytes(std::min(additional, r.remaining())));
  if (rest.remaining() < 5) return data;
  rest.skip(4);  // command-specific information
  data.sense.asc = u8_or_zero(rest);
  data.sense.ascq = u8_or_zero(rest);
  if (rest.remaining() < 4) return data;
  rest.skip(1);  // field replaceable unit
  decode_specific(rest, data);
  return data;
}

SenseData decode_descriptor(Reader& r) {
  SenseData data{.descriptor_format = true};
  data.sense.key = static_cast<SenseKey>(u8_or_zero(r) & key_mask);
  data.sense.asc = u8_or_zero(r);
  data.sense.ascq = u8_or_zero(r);
  r.bytes(std::min<std::size_t>(3, r.remaining()));
  const std::size_t additional = u8_or_zero(r);
  Reader list(r.bytes(std::min(additional, r.remaining())));
  while (list.remaining() >= 2) {
    const std::uint8_t type = list.u8();
    const std::uint8_t length = list.u8();
    Reader body(list.bytes(length));
    if (!list.ok()) break;
    if (type == specific_descriptor && length == specific_descriptor_bytes) {
      body.skip(2);
      decode_specific(body, data);
    }
    if (type != information_descriptor || length != information_descriptor_bytes) continue;
    const bool valid = (body.u8() & valid_bit) != 0;
    body.skip(1);
    const std::uint64_t information = body.u64();
    if (valid) data.information = information;
  }
  return data;
}

void encode_fixed(const SenseData& data, Writer& w) {
  const bool fits = data.information && *data.information <= std::numeric_limits<std::uint32_t>::max();
  const auto code = data.deferred ? ResponseCode::fixed_deferred : ResponseCode::fixed;
  w.u8(static_cast<std::uint8_t>(std::to_underlying(code) | (fits ? valid_bit : 0)));
  w.skip(1);
  w.u8(std::to_underlying(data.sense.key));
  w.u32(fits ? static_cast<std::uint32_t>(*data.information) : 0);
  w.u8(fixed_bytes - 8);
  w.skip(4);
  w.u8(data.sense.asc);
  w.u8(data.sense.ascq);
  w.skip(1);
  encode_specific(data, w);
}

void encode_descriptor(const SenseData& data, Writer& w) {
  w.u8(std::to_underlying(data.deferred ? ResponseCode::descriptor_deferred : ResponseCode::descriptor));
  w.u8(std::to_underlying(data.sense.key));
  w.u8(data.sense.asc);
  w.u8(data.sense.ascq);
  w.skip(3);
  const bool specific = data.progress || data.field;
  w.u8(static_cast<std::uint8_t>((data.information ? information_descriptor_bytes + 2 : 0) +
                                 (specific ? specific_descriptor_bytes + 2 : 0)));
  if (data.information) {
    w.u8(information_descriptor);
    w.u8(information_descriptor_bytes);
    w.u8(valid_bit);
    w.skip(1);
    w.u64(*data.information);
  }
  if (specific) {
    w.u8(specific_descriptor);
    w.u8(specific_descriptor_bytes);
    w.skip(2);
    encode_specific(data, w);
    w.skip(1);
  }
}

struct NamedSense {
  Sense sense;
  const char* name;
};

constexpr NamedSense names[] = {
    {sense::becoming_ready, "becoming ready"},
    {sense::manual_intervention, "manual intervention required"},
    {sense::alua_transition, "asymmetric access state transition"},
    {sense::alua_standby, "target port in standby state"},
    {sense::alua_unavailable, "target port in unavailable state"},
    {sense::sanitize_in_progress, "sanitize in progress"},
    {sense::no_medium, "medium not present"},
    {sense::write_error, "write error"},
    {sense::read_error, "unrecovered read error"},
    {sense::sanitize_failed, "sanitize command failed"},
    {sense::internal_failure, "internal target failure"},
    {sense::parameter_list_length, "parameter list length error"},
    {sense::invalid_opcode, "invalid command operation code"},
    {sense::lba_out_of_range, "logical block address out of range"},
    {sense::invalid_field_in_cdb, "invalid field in CDB"},
    {sense::lun_not_supported, "logical unit not supported"},
    {sense::invalid_field_in_parameters, "invalid field in parameter list"},
    {sense::parameter_not_supported, "parameter not supported"},
    {sense::invalid_release, "invalid release of persistent reservation"},
    {sense::saving_not_supported, "saving parameters not supported"},
    {sense::invalid_message, "invalid message error"},
    {sense::no_registration_resources, "insufficient registration resources"},
    {sense::set_port_groups_failed, "set target port groups command failed"},
    {sense::bus_reset, "SCSI bus reset occurred"},
    {sense::unit_reset, "bus device reset function occurred"},
    {sense::reservations_preempted, "reservations preempted"},
    {sense::reservations_released, "reservations released"},
    {sense::registrations_preempted, "registrations preempted"},
    {sense::medium_may_have_changed, "medium may have changed"},
    {sense::power_on, "power on, reset or bus device reset"},
    {sense::nexus_loss, "I_T nexus loss"},
    {sense::mode_parameters_changed, "mode parameters changed"},
    {sense::alua_changed, "asymmetric access state changed"},
    {sense::capacity_changed, "capacity data has changed"},
    {sense::commands_cleared, "commands cleared by another initiator"},
    {sense::inquiry_changed, "inquiry data has changed"},
    {sense::luns_changed, "reported LUNs data has changed"},
    {sense::thin_threshold, "thin provisioning soft threshold reached"},
    {sense::write_protected, "write protected"},
    {sense::no_space, "space allocation failed write protect"},
    {sense::data_phase_error, "data phase error"},
    {sense::miscompare, "miscompare during verify"},
};

}  // namespace

Result<SenseData> decode_sense(std::span<const std::byte> bytes) {
  Reader r(bytes);
  const std::uint8_t first = r.u8();
  if (!r.ok()) return failure(WireErrc::truncated);
  switch (static_cast<ResponseCode>(first & response_code_mask)) {
    case ResponseCode::fixed:
      return decode_fixed(r, first);
    case ResponseCode::descriptor:
      return decode_descriptor(r);
    case ResponseCode::fixed_deferred: {
      SenseData data = decode_fixed(r, first);
      data.deferred = true;
      return data;
    }
    case ResponseCode::descriptor_deferred: {
      SenseData data = decode_descriptor(r);
      data.deferred = true;
      return data;
    }
  }
  return failure(WireErrc::bad_opcode);
}

SenseBytes encode_sense(const SenseData& data) {
  SenseBytes out;
  Writer w(out.bytes);
  if (data.descriptor_format) {
    encode_descriptor(data, w);
  } else {
    encode_fixed(data, w);
  }
  out.length = static_cast<std::uint8_t>(w.size());
  return out;
}

const char* name(SenseKey key) {
  switch (key) {
    case SenseKey::no_sense:
      return "no sense";
    case SenseKey::recovered_error:
      return "recovered error";
    case SenseKey::not_ready:
      return "not ready";
    case SenseKey::medium_error:
      return "medium error";
    case SenseKey::hardware_error:
      return "hardware error";
    case SenseKey::illegal_request:
      return "illegal request";
    case SenseKey::unit_attention:
      return "unit attention";
    case SenseKey::data_protect:
      return "data protect";
    case SenseKey::blank_check:
      return "blank check";
    case SenseKey::vendor_specific:
      return "vendor specific";
    case SenseKey::copy_aborted:
      return "copy aborted";
    case SenseKey::aborted_command:
      return "aborted command";
    case SenseKey::volume_overflow:
      return "volume overflow";
    case SenseKey::miscompare:
      return "miscompare";
    case SenseKey::completed:
      return "completed";
  }
  return "reserved";
}

const char* name(Status status) {
  switch (status) {
    case Status::good:
      return "good";
    case Status::check_condition:
      return "check condition";
    case Status::condition_met:
      return "condition met";
    case Status::busy:
      return "busy";
    case Status::reservation_conflict:
      return "reservation conflict";
    case Status::task_set_full:
      return "task set full";
    case Status::aca_active:
      return "ACA active";
    case Status::task_aborted:
      return "task aborted";
  }
  return "reserved";
}

std::string describe(const Sense& sense) {
  const auto head =
      fmt::format("{} {:02x}/{:02x}/{:02x}", name(sense.key), std::to_underlying(sense.key), sense.asc, sense.ascq);
  for (const NamedSense& named : names) {
    if (named.sense == sense) return fmt::format("{} ({})", head, named.name);
  }
  return head;
}

}  // namespace mpath::scsi
