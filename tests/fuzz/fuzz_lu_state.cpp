// The state of a unit, and what initiators send to change it: mode pages and reservations. A state that is taken is one
// that a unit could have, so that every step from it leads to another such state, which can be written down, sent to
// the other node of a pair and read back.
#include <algorithm>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include "target/scsi/access.hpp"
#include "target/scsi/adopted_news.hpp"
#include "target/scsi/mode_pages.hpp"
#include "target/scsi/reservations.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "wire/crc32c.hpp"

namespace mpath::target {
namespace {

constexpr std::string_view cut_here = "---\n";

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Lines with the title before and a right checksum behind them.
std::string sealed(std::string_view lines) {
  std::string text = "mptarget-lu-state 1\n";
  text += lines;
  if (!text.ends_with('\n')) text += '\n';
  return text + fmt::format("checksum {:08x}\n", crc32c(std::as_bytes(std::span(text))));
}

void check_reservations(const Reservations& reservations) {
  for (const Registration& known : reservations.registrations) {
    const auto same = [&](const Registration& other) {
      return other.initiator == known.initiator && same_port(other.target, known.target);
    };
    CHECK(std::ranges::count_if(reservations.registrations, same) == 1);
  }
  if (!reservations.held) return;
  CHECK(!reservations.registrations.empty());
  CHECK(all_registrants(reservations.held->type) != reservations.held->holder.has_value());
  if (!reservations.held->holder) return;
  CHECK(std::ranges::find(reservations.registrations, *reservations.held->holder) != reservations.registrations.end());
}

void check_again(const LuState& state) {
  check_reservations(state.reservations);
  const SanitizeState& sanitize = state.sanitize;
  CHECK(sanitize.phase == SanitizeState::Phase::none ||
        (sanitize.passes > 0 && (sanitize.method == SanitizeState::Method::block_erase || !sanitize.pattern.empty())));
  const auto again = decode_lu_state(encode_lu_state(state));
  CHECK(again.has_value() && *again == state);
  const auto cycled = decode_lu_state(encode_lu_state(after_power_cycle(state)));
  CHECK(cycled.has_value() && *cycled == after_power_cycle(state));
}

void answer_all(const Reservations& reservations) {
  const auto keys = scsi::decode_reservation_keys(scsi::encode_reservation_keys(read_keys(reservations)));
  CHECK(keys.has_value() && keys->keys.size() == reservations.registrations.size());
  const auto held = scsi::decode_reservation(scsi::encode_reservation(read_reservation(reservations)));
  CHECK(held.has_value() && held->held.has_value() == reservations.held.has_value());
  static_cast<void>(scsi::encode_reservation_capabilities(reservation_capabilities(reservations)));
  static_cast<void>(scsi::encode_full_status(read_full_status(reservations)));
}

const TargetPort ports[] = {{.target = "iqn.x:t", .portal_group = 1, .relative_id = 1, .alua_group = 1},
                            {.target = "iqn.x:t", .portal_group = 2, .relative_id = 2, .alua_group = 2}};

// Every service action with the same list, as the first registrant and as a stranger.
void step_all(const LuState& state, fuzz::Input list) {
  const unsigned type = list.choice();
  std::vector<NexusName> senders = {{.initiator = {.name = "iqn.x:h", .isid = {}}, .target = ports[0]}};
  const auto& known = state.reservations.registrations;
  if (!known.empty()) senders.push_back({.initiator = known[0].initiator, .target = known[0].target});
  for (const NexusName& sender : senders) {
    const InitiatorPort present[] = {sender.initiator};
    const ReservationScene scene{.sender = sender, .ports = ports, .present = present};
    const auto take = [&](const ReservationStep& step) {
      LuState after = state;
      after.reservations = step.next;
      CHECK(step.status == scsi::Status::good || step.next == state.reservations);
      check_again(after);
      answer_all(step.next);
      for (const NexusName& nexus : senders) CHECK(adopted_news(nexus, state, after).size() <= 3);
    };
    for (unsigned service = 0; service < 7; ++service) {
      const bool registers = service == 0 || service == 6;
      const auto parsed = scsi::decode_persistent_out(list.bytes, registers);
      if (!parsed) continue;
      take(persistent_step(state.reservations, static_cast<scsi::PersistentService>(service),
                           static_cast<std::uint8_t>(type >> 4), static_cast<std::uint8_t>(type & 0x0f), *parsed,
                           scene));
    }
    if (const auto move = scsi::decode_register_and_move(list.bytes)) take(move_step(state.reservations, *move, scene));
  }
}

void try_state(std::string_view text, std::span<const std::byte> list) {
  const auto state = decode_lu_state(text);
  if (!state) return;
  check_again(*state);
  answer_all(state->reservations);
  step_all(*state, {reinterpret_cast<const std::uint8_t*>(list.data()), list.size()});
}

void try_modes(std::span<const std::byte> list, bool short_form) {
  const auto parameters = scsi::decode_mode_parameters(list, short_form);
  if (!parameters) return;
  LuState state;
  const auto wanted = apply_mode_pages(parameters->pages, state.modes);
  if (!wanted) return;
  state.modes = *wanted;
  check_again(state);
  // What MODE SENSE tells of the values, MODE SELECT takes.
  const auto pages = mode_pages(scsi::mode_page_all, 0, PageControl::current, *wanted);
  CHECK(!pages.empty());
  const auto told = scsi::encode_mode_parameters({.blocks = {}, .pages = pages}, short_form);
  const auto heard = scsi::decode_mode_parameters(told, short_form);
  CHECK(heard.has_value());
  const auto same = apply_mode_pages(heard->pages, ModeValues{});
  CHECK(same.has_value() && *same == *wanted);
}

void try_all(fuzz::Input input) {
  const unsigned choice = input.choice() % 4;
  if (choice < 2) {
    const std::string_view text = text_of(input.bytes);
    const std::size_t cut = text.find(cut_here);
    const std::string_view lines = text.substr(0, cut);
    const std::size_t behind = cut == text.npos ? text.size() : cut + cut_here.size();
    try_state(choice == 0 ? std::string(lines) : sealed(lines), input.bytes.subspan(behind));
    return;
  }
  try_modes(input.bytes, choice == 2);
}

}  // namespace
}  // namespace mpath::target

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpath::target::try_all({data, size});
  return 0;
}
