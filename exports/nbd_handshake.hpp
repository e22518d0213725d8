// The fixed newstyle handshake as a state machine: bytes in, bytes and an outcome out.
//
//   greeting ──► client flags ──► option ──► option ... ──► GO or EXPORT_NAME: transmission
//                    │              ▲  │                 └─► ABORT: finished
//                    └─ bad flags   └──┘ answered        └─► broken, or too many: finished
//
// Pure logic: no socket, no clock, no log. Bounded by NbdHandshakeLimits whatever the client sends.
// Not offered: TLS (STARTTLS is answered with ERR_UNSUP), extended headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/block_device.hpp"
#include "wire/nbd.hpp"

namespace mpath {

struct NbdHandshakeLimits {
  std::uint32_t options_max = nbd::limits::options_max;            // more, and the client is sent away
  std::uint32_t option_bytes_max = nbd::limits::option_bytes_max;  // longer: skipped and answered with ERR_TOO_BIG
  std::uint32_t skip_bytes_max = 1u << 20;                         // longer still: sent away
  std::uint32_t payload_max = nbd::limits::payload_bytes_max;      // told as the maximum block size
};

// What is offered, in the order of LIST. Borrowed, and unchanged during one feed().
struct NbdOffer {
  std::string name;
  std::string description;
  BlockLimits limits;
};
using NbdOffers = std::span<const NbdOffer>;

struct NbdAgreement {
  std::string export_name;  // the name as offered, also when the client asked for the default
  bool structured_replies = false;
  bool base_allocation = false;
};

class NbdHandshake {
 public:
  enum class Outcome : std::uint8_t {
    more,          // send what was answered and read on
    transmission,  // send it, then serve agreement()
    finished,      // send it, then close; why() says what happened
  };

  explicit NbdHandshake(const NbdHandshakeLimits& limits) : limits_(limits) {}

  // What the server says first.
  void greet(nbd::Bytes& out);
  // Takes any number of bytes; appends answers to `out`. Once it did not return `more`, do not call it again.
  Outcome feed(std::span<const std::byte> in, NbdOffers offers, nbd::Bytes& out);

  [[nodiscard]] const NbdAgreement& agreement() const { return agreement_; }
  // Bytes that came behind the last option: the first of the transmission phase.
  [[nodiscard]] std::span<const std::byte> rest() const { return pending_; }
  [[nodiscard]] std::string_view why() const { return why_; }

 private:
  enum class Awaiting : std::uint8_t { client_flags, option };

  Outcome step(NbdOffers offers, nbd::Bytes& out);
  Outcome take_client_flags();
  Outcome take_option(NbdOffers offers, nbd::Bytes& out);
  Outcome answer(nbd::Option option, std::span<const std::byte> data, NbdOffers offers, nbd::Bytes& out);
  Outcome answer_export_name(std::span<const std::byte> data, NbdOffers offers, nbd::Bytes& out);
  Outcome answer_info(nbd::Option option, std::span<const std::byte> data, NbdOffers offers, nbd::Bytes& out);
  void answer_meta_context(nbd::Option option, std::span<const std::byte> data, NbdOffers offers, nbd::Bytes& out);
  [[nodiscard]] nbd::ExportInfo about(const NbdOffer& offer) const;
  Outcome enter(const NbdOffer& offer);
  Outcome finish(std::string_view why);

  NbdHandshakeLimits limits_;
  Awaiting awaiting_ = Awaiting::client_flags;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  bool progressed_ = false;  // the last step() took something
  std::uint32_t options_ = 0;
  std::uint64_t skip_ = 0;                     // of an option that was too big
  nbd::Bytes pending_;                         // not yet taken
  std::optional<std::string> context_export_;  // the export base:allocation was selected for
  NbdAgreement agreement_;
  std::string_view why_;
};

}  // namespace mpath
