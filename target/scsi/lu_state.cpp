#include "target/scsi/lu_state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

#include "target/scsi/access.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"

// The durable form, one fact a line: a word, then name=value pairs. The first line has the version, the last one the
// CRC32C of everything before it. Values are free of blanks; other bytes than printable ASCII stand as %XX.
//
//   mptarget-lu-state 1
//   reservations generation=4 persist=1
//   registration initiator=iqn.2025-11.local.a isid=40000001370000 target=iqn.2025-11.local.t group=1 relative=1 alua=1
//   key=a1 held type=1 key=a1 holder=0 reserved initiator=... isid=... target=... group=1 relative=1 alua=1 modes
//   current write_cache=1 ... modes saved write_cache=1 ... access group=1 state=2 sanitize phase=1 method=1 exit=0
//   invert=0 passes=1 done=1048576 pattern=00ff checksum 1c2d3e4f

namespace mpath::target {
namespace {

constexpr std::string_view title = "mptarget-lu-state";
constexpr std::string_view version = "1";
constexpr std::size_t registrations_max = 65536;

// --- writing --------------------------------------------------------------------------------------------------------

std::string word(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= ' ' || byte >= 0x7f || byte == '%' || byte == '=') {
      out += fmt::format("%{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

template <typename Bytes>
std::string hex(const Bytes& bytes) {
  std::string out;
  for (const auto byte : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return out;
}

std::string ports(const InitiatorPort& initiator, const TargetPort& target) {
  return fmt::format("initiator={} isid={} target={} group={} relative={} alua={}", word(initiator.name),
                     hex(initiator.isid), word(target.target), target.portal_group, target.relative_id,
                     target.alua_group);
}

std::string modes(std::string_view which, const ModeValues& values) {
  return fmt::format(
      "modes {} write_cache={:d} descriptor_sense={:d} software_write_protect={:d} aborted_task_status={:d} "
      "task_set_type={} queue_error={} interlock={} read_cache_disabled={:d}\n",
      which, values.write_cache, values.descriptor_sense, values.software_write_protect, values.aborted_task_status,
      values.task_set_type, values.queue_error, values.unit_attention_interlock, values.read_cache_disabled);
}

// --- reading --------------------------------------------------------------------------------------------------------

std::string_view cut(std::string_view& text, char at) {
  const std::size_t end = std::min(text.find(at), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

// The pairs of one line. Sticky like Reader: what is missing or wrong yields zero and turns ok() false.
class Pairs {
 public:
  explicit Pairs(std::string_view line) {
    while (!line.empty()) {
      std::string_view pair = cut(line, ' ');
      if (pair.find('=') == std::string_view::npos) {
        fail();
        continue;
      }
      const std::string_view name = cut(pair, '=');
      pairs_.emplace_back(name, pair);
    }
  }
  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool has(std::string_view name) const {
    return std::ranges::any_of(pairs_, [&](const auto& pair) { return pair.first == name; });
  }
  std::uint64_t number(std::string_view name, std::uint64_t max, int base = 10) {
    const std::string_view text = raw(name);
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size() || value > max) {
      fail();
      return 0;
    }
    return value;
  }
  bool flag(std::string_view name) { return number(name, 1) != 0; }
  std::string text(std::string_view name) {
    const std::string_view from = raw(name);
    std::string out;
    for (std::size_t i = 0; i < from.size(); ++i) {
      if (from[i] != '%') {
        out += from[i];
        continue;
      }
      unsigned byte = 0;
      if (!byte_at(from, i + 1, byte)) return out;
      out += static_cast<char>(byte);
      i += 2;
    }
    return out;
  }
  std::vector<std::byte> bytes(std::string_view name) {
    const std::string_view from = raw(name);
    std::vector<std::byte> out;
    if (from.size() % 2 != 0) fail();
    for (std::size_t i = 0; i + 1 < from.size(); i += 2) {
      unsigned byte = 0;
      if (!byte_at(from, i, byte)) break;
      out.push_back(static_cast<std::byte>(byte));
    }
    return out;
  }
  void fail() { ok_ = false; }

 private:
  std::string_view raw(std::string_view name) {
    const auto found = std::ranges::find_if(pairs_, [&](const auto& pair) { return pair.first == name; });
    if (found == pairs_.end()) {
      fail();
      return {};
    }
    return found->second;
  }
  bool byte_at(std::string_view from, std::size_t at, unsigned& byte) {
    const std::string_view digits = from.substr(std::min(at, from.size()), 2);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
    if (digits.size() == 2 && error == std::errc() && end == digits.data() + 2) return true;
    fail();
    return false;
  }

  std::vector<std::pair<std::string_view, std::string_view>> pairs_;
  bool ok_ = true;
};

constexpr std::uint64_t max16 = 0xffff;
constexpr std::uint64_t max32 = 0xffffffff;
constexpr std::uint64_t max64 = ~std::uint64_t{0};

InitiatorPort initiator_of(Pairs& pairs) {
  InitiatorPort port{.name = pairs.text("initiator")};
  const auto isid = pairs.bytes("isid");
  if (isid.size() == port.isid.size()) {
    std::ranges::transform(isid, port.isid.begin(), [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  } else {
    pairs.fail();
  }
  return port;
}

TargetPort target_of(Pairs& pairs) {
  return {.target = pairs.text("target"),
          .portal_group = static_cast<std::uint16_t>(pairs.number("group", max16)),
          .relative_id = static_cast<std::uint16_t>(pairs.number("relative", max16)),
          .alua_group = static_cast<std::uint16_t>(pairs.number("alua", max16))};
}

ModeValues modes_of(Pairs& pairs) {
  return {.write_cache = pairs.flag("write_cache"),
          .descriptor_sense = pairs.flag("descriptor_sense"),
          .software_write_protect = pairs.flag("software_write_protect"),
          .aborted_task_status = pairs.flag("aborted_task_status"),
          .task_set_type = static_cast<std::uint8_t>(pairs.number("task_set_type", 7)),
          .queue_error = static_cast<std::uint8_t>(pairs.number("queue_error", 3)),
          .unit_attention_interlock = static_cast<std::uint8_t>(pairs.number("interlock", 3)),
          .read_cache_disabled = pairs.flag("read_cache_disabled")};
}

void read_held(Pairs& pairs, Reservations& reservations) {
  PersistentReservation held{.key = pairs.number("key", max64, 16)};
  const std::uint64_t type = pairs.number("type", 8);
  if (type != 1 && type != 3 && (type < 5 || type > 8)) return pairs.fail();
  held.type = static_cast<ReservationType>(type);
  if (pairs.has("holder")) {
    const std::uint64_t holder = pairs.number("holder", registrations_max);
    if (holder >= reservations.registrations.size()) return pairs.fail();
    held.holder = reservations.registrations[holder];
  }
  reservations.held = held;
}

SanitizeState sanitize_of(Pairs& pairs) {
  SanitizeState state{.phase = static_cast<SanitizeState::Phase>(pairs.number("phase", 2)),
                      .exit_allowed = pairs.flag("exit"),
                      .invert = pairs.flag("invert"),
                      .passes = static_cast<std::uint8_t>(pairs.number("passes", 255)),
                      .done_bytes = pairs.number("done", max64),
                      .pattern = pairs.bytes("pattern")};
  const std::uint64_t method = pairs.number("method", 2);
  if (method == 0) pairs.fail();
  state.method = static_cast<SanitizeState::Method>(method);
  return state;
}

// False: a line that this version does not have, or that is wrong.
bool read_line(std::string_view line, LuState& state) {
  const std::string_view kind = cut(line, ' ');
  std::string_view which;
  if (kind == "modes") which = cut(line, ' ');
  Pairs pairs(line);
  Reservations& reservations = state.reservations;
  if (kind == "reservations") {
    reservations.generation = static_cast<std::uint32_t>(pairs.number("generation", max32));
    reservations.persist = pairs.flag("persist");
  } else if (kind == "registration") {
    if (reservations.registrations.size() >= registrations_max) return false;
    reservations.registrations.push_back(
        {.initiator = initiator_of(pairs), .target = target_of(pairs), .key = pairs.number("key", max64, 16)});
  } else if (kind == "held") {
    read_held(pairs, reservations);
  } else if (kind == "reserved") {
    reservations.reserved = {.initiator = initiator_of(pairs), .target = target_of(pairs)};
  } else if (kind == "modes" && which == "current") {
    state.modes = modes_of(pairs);
  } else if (kind == "modes" && which == "saved") {
    state.saved_modes = modes_of(pairs);
  } else if (kind == "access") {
    const auto group = static_cast<std::uint16_t>(pairs.number("group", max16));
    const std::uint64_t access = pairs.number("state", 15);
    if (access > 4 && access < 14) return false;
    state.access[group] = static_cast<scsi::AccessState>(access);
  } else if (kind == "sanitize") {
    state.sanitize = sanitize_of(pairs);
  } else {
    return false;
  }
  return pairs.ok();
}

// Whether a unit could have come to it. What follows relies on that: a reservation has a holder among the registrants,
// or is all registrants'.
bool sound(const LuState& state) {
  const Reservations& reservations = state.reservations;
  std::set<std::tuple<const InitiatorPort&, std::string_view, std::uint16_t>> nexuses;
  for (const Registration& known : reservations.registrations) {
    if (!nexuses.emplace(known.initiator, known.target.target, known.target.portal_group).second) return false;
  }
  if (const auto& held = reservations.held) {
    if (reservations.registrations.empty()) return false;
    if (all_registrants(held->type) == held->holder.has_value()) return false;
  }
  const SanitizeState& sanitize = state.sanitize;
  if (sanitize.phase == SanitizeState::Phase::none) return true;
  return sanitize.passes > 0 && (sanitize.method != SanitizeState::Method::overwrite || !sanitize.pattern.empty());
}

}  // namespace

LuState after_power_cycle(const LuState& state) {
  LuState next = state;
  next.modes = state.saved_modes;
  next.reservations.reserved.reset();
  next.reservations.generation = 0;  // SPC-4 6.15.2: PRGENERATION starts at zero, APTPL or not
  if (!state.reservations.persist) next.reservations = {};
  return next;
}

std::string encode_lu_state(const LuState& state) {
  const Reservations& reservations = state.reservations;
  std::string text = fmt::format("{} {}\nreservations generation={} persist={:d}\n", title, version,
                                 reservations.generation, reservations.persist);
  for (const Registration& known : reservations.registrations)
    text += fmt::format("registration {} key={:x}\n", ports(known.initiator, known.target), known.key);
  if (reservations.held) {
    const PersistentReservation& held = *reservations.held;
    text += fmt::format("held type={} key={:x}", std::to_underlying(held.type), held.key);
    if (held.holder) {
      const auto place = std::ranges::find(reservations.registrations, *held.holder);
      text += fmt::format(" holder={}", place - reservations.registrations.begin());
    }
    text += '\n';
  }
  if (reservations.reserved)
    text += fmt::format("reserved {}\n", ports(reservations.reserved->initiator, reservations.reserved->target));
  text += modes("current", state.modes) + modes("saved", state.saved_modes);
  for (const auto& [group, access] : state.access)
    text += fmt::format("access group={} state={}\n", group, std::to_underlying(access));
  const SanitizeState& sanitize = state.sanitize;
  text += fmt::format("sanitize phase={} method={} exit={:d} invert={:d} passes={} done={} pattern={}\n",
                      std::to_underlying(sanitize.phase), std::to_underlying(sanitize.method), sanitize.exit_allowed,
                      sanitize.invert, sanitize.passes, sanitize.done_bytes, hex(sanitize.pattern));
  text += fmt::format("checksum {:08x}\n", crc32c(std::as_bytes(std::span(text))));
  return text;
}

Result<LuState> decode_lu_state(std::string_view text) {
  std::string_view rest = text;
  std::string_view first = cut(rest, '\n');
  if (cut(first, ' ') != title) return failure(WireErrc::bad_field);
  if (first != version) return failure(WireErrc::bad_version);
  constexpr std::string_view mark = "\nchecksum ";
  const std::size_t end = text.rfind(mark);
  if (end == std::string_view::npos) return failure(WireErrc::bad_length);
  const std::string_view covered = text.substr(0, end + 1);
  if (text.substr(end + 1) != fmt::format("checksum {:08x}\n", crc32c(std::as_bytes(std::span(covered)))))
    return failure(WireErrc::bad_digest);
  std::string_view lines = covered.substr(std::min(covered.find('\n') + 1, covered.size()));
  LuState state;
  while (!lines.empty()) {
    if (!read_line(cut(lines, '\n'), state)) return failure(WireErrc::bad_field);
  }
  if (!sound(state)) return failure(WireErrc::bad_field);
  return state;
}

}  // namespace mpath::target
