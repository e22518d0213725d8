#include "exports/nbd_handshake.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "exports/nbd_rules.hpp"

namespace mpath {
namespace {

using nbd::Bytes;
using nbd::InfoType;
using nbd::Option;
using nbd::OptionReply;

void append(Bytes& out, const Bytes& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void reply(Bytes& out, Option option, OptionReply type, std::span<const std::byte> data = {}) {
  append(out, nbd::encode_option_reply(option, type, data));
}

void refuse(Bytes& out, Option option, OptionReply type, std::string_view why) {
  append(out, nbd::encode_option_error(option, type, why));
}

// Forgets the first `count` bytes.
void drop(Bytes& bytes, std::size_t count) {
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
}

// The export a client means: by name; "" is the only one, when there is only one.
const NbdOffer* find(NbdOffers offers, std::string_view name) {
  if (name.empty() && offers.size() == 1) return &offers.front();
  const auto at = std::ranges::find(offers, name, &NbdOffer::name);
  return at == offers.end() ? nullptr : &*at;
}

nbd::BlockSizeInfo block_sizes(const BlockLimits& limits, std::uint32_t payload_max) {
  const std::uint32_t preferred = std::bit_floor(std::max(limits.preferred_block, limits.block_size));
  return {.minimum = limits.block_size, .preferred = std::min(preferred, payload_max), .maximum = payload_max};
}

}  // namespace

void NbdHandshake::greet(Bytes& out) {
  std::array<std::byte, nbd::greeting_bytes> greeting;
  nbd::encode_greeting(nbd::handshake_flag::fixed_newstyle | nbd::handshake_flag::no_zeroes, greeting);
  out.insert(out.end(), greeting.begin(), greeting.end());
}

NbdHandshake::Outcome NbdHandshake::feed(std::span<const std::byte> in, NbdOffers offers, Bytes& out) {
  pending_.insert(pending_.end(), in.begin(), in.end());
  for (;;) {
    const Outcome outcome = step(offers, out);
    if (outcome != Outcome::more || !progressed_) return outcome;
  }
}

NbdHandshake::Outcome NbdHandshake::step(NbdOffers offers, Bytes& out) {
  progressed_ = false;
  const auto skipped = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, pending_.size()));
  drop(pending_, skipped);
  skip_ -= skipped;
  if (skip_ > 0) return Outcome::more;
  switch (awaiting_) {
    case Awaiting::client_flags:
      return take_client_flags();
    case Awaiting::option:
      return take_option(offers, out);
  }
  return Outcome::finished;
}

NbdHandshake::Outcome NbdHandshake::take_client_flags() {
  if (pending_.size() < nbd::client_flags_bytes) return Outcome::more;
  const std::uint32_t flags = nbd::decode_client_flags(std::span(pending_).first<nbd::client_flags_bytes>());
  constexpr std::uint32_t known = nbd::handshake_flag::fixed_newstyle | nbd::handshake_flag::no_zeroes;
  if ((flags & ~known) != 0) return finish("unknown client flags");
  fixed_newstyle_ = (flags & nbd::handshake_flag::fixed_newstyle) != 0;
  no_zeroes_ = (flags & nbd::handshake_flag::no_zeroes) != 0;
  drop(pending_, nbd::client_flags_bytes);
  awaiting_ = Awaiting::option;
  progressed_ = true;
  return Outcome::more;
}

NbdHandshake::Outcome NbdHandshake::take_option(NbdOffers offers, Bytes& out) {
  if (pending_.size() < nbd::option_header_bytes) return Outcome::more;
  const auto header = nbd::decode_option_header(std::span(pending_).first<nbd::option_header_bytes>());
  if (!header) return finish("no option where one must be");
  if (header->length > limits_.skip_bytes_max) return finish("an option of absurd length");
  const bool too_big = header->length > limits_.option_bytes_max;
  if (!too_big && pending_.size() < nbd::option_header_bytes + header->length) return Outcome::more;
  progressed_ = true;
  if (++options_ > limits_.options_max) return finish("too many options");

  drop(pending_, nbd::option_header_bytes);
  if (too_big) {
    if (header->option == Option::export_name) return finish("an export name of absurd length");
    skip_ = header->length;
    refuse(out, header->option, OptionReply::err_too_big, "option too long");
    return Outcome::more;
  }
  const Bytes data(pending_.begin(), pending_.begin() + header->length);
  drop(pending_, header->length);
  if (!fixed_newstyle_ && header->option != Option::export_name) return finish("an option that needs fixed newstyle");
  return answer(header->option, data, offers, out);
}

NbdHandshake::Outcome NbdHandshake::answer(Option option, std::span<const std::byte> data, NbdOffers offers,
                                           Bytes& out) {
  const bool must_be_empty = option == Option::list || option == Option::structured_reply;
  if (must_be_empty && !data.empty()) {
    refuse(out, option, OptionReply::err_invalid, "this option carries no data");
    return Outcome::more;
  }
  switch (option) {
    case Option::export_name:
      return answer_export_name(data, offers, out);
    case Option::abort:
      reply(out, option, OptionReply::ack);
      return finish("client aborted");
    case Option::list:
      for (const NbdOffer& offer : offers) {
        const nbd::ServerEntry entry{.name = offer.name, .description = offer.description};
        reply(out, option, OptionReply::server, nbd::encode_server_entry(entry));
      }
      reply(out, option, OptionReply::ack);
      return Outcome::more;
    case Option::info:
    case Option::go:
      return answer_info(option, data, offers, out);
    case Option::structured_reply:
      agreement_.structured_replies = true;
      reply(out, option, OptionReply::ack);
      return Outcome::more;
    case Option::list_meta_context:
    case Option::set_meta_context:
      answer_meta_context(option, data, offers, out);
      return Outcome::more;
    case Option::starttls:
    case Option::extended_headers:
      break;
  }
  refuse(out, option, OptionReply::err_unsup, "option not supported");
  return Outcome::more;
}

NbdHandshake::Outcome NbdHandshake::answer_export_name(std::span<const std::byte> data, NbdOffers offers, Bytes& out) {
  const NbdOffer* offer = find(offers, {reinterpret_cast<const char*>(data.data()), data.size()});
  if (offer == nullptr) return finish("unknown export");  // this option has no error reply
  append(out, nbd::encode_export_name_answer(about(*offer), no_zeroes_));
  return enter(*offer);
}

NbdHandshake::Outcome NbdHandshake::answer_info(Option option, std::span<const std::byte> data, NbdOffers offers,
                                                Bytes& out) {
  const auto request = nbd::decode_info_request(data);
  const NbdOffer* offer = request ? find(offers, request->name) : nullptr;
  if (!request) {
    refuse(out, option, OptionReply::err_invalid, "lengths do not add up");
    return Outcome::more;
  }
  if (offer == nullptr) {
    refuse(out, option, OptionReply::err_unknown, "no such export");
    return Outcome::more;
  }
  const auto wants = [&](InfoType type) {
    return std::ranges::find(request->infos, static_cast<std::uint16_t>(type)) != request->infos.end();
  };
  reply(out, option, OptionReply::info, nbd::encode_info_export(about(*offer)));
  if (wants(InfoType::name)) {
    reply(out, option, OptionReply::info, nbd::encode_info_text(InfoType::name, offer->name));
  }
  if (wants(InfoType::description) && !offer->description.empty()) {
    reply(out, option, OptionReply::info, nbd::encode_info_text(InfoType::description, offer->description));
  }
  // Told to those who do not ask as well: a client that knows may keep to it.
  const nbd::BlockSizeInfo sizes = block_sizes(offer->limits, limits_.payload_max);
  reply(out, option, OptionReply::info, nbd::encode_info_block_size(sizes));
  reply(out, option, OptionReply::ack);
  return option == Option::go ? enter(*offer) : Outcome::more;
}

void NbdHandshake::answer_meta_context(Option option, std::span<const std::byte> data, NbdOffers offers, Bytes& out) {
  const bool set = option == Option::set_meta_context;
  if (set) context_export_.reset();  // whatever comes of it, an earlier selection is void
  if (!agreement_.structured_replies) {
    return refuse(out, option, OptionReply::err_invalid, "structured replies must be agreed first");
  }
  const auto request = nbd::decode_meta_request(data);
  if (!request) return refuse(out, option, OptionReply::err_invalid, "lengths do not add up");
  const NbdOffer* offer = find(offers, request->name);
  if (offer == nullptr) return refuse(out, option, OptionReply::err_unknown, "no such export");

  bool wanted = !set && request->queries.empty();  // an empty list asks for all there is
  for (const std::string& query : request->queries) {
    wanted |= query == nbd::base_allocation || (!set && query == "base:");
  }
  if (wanted) {
    const nbd::MetaContext context{.id = set ? nbd_base_allocation_id : 0, .name = std::string(nbd::base_allocation)};
    reply(out, option, OptionReply::meta_context, nbd::encode_meta_context(context));
    if (set) context_export_ = offer->name;
  }
  reply(out, option, OptionReply::ack);
}

nbd::ExportInfo NbdHandshake::about(const NbdOffer& offer) const {
  return {.size_bytes = offer.limits.size_bytes, .flags = export_flags(offer.limits, agreement_.structured_replies)};
}

NbdHandshake::Outcome NbdHandshake::enter(const NbdOffer& offer) {
  agreement_.export_name = offer.name;
  agreement_.base_allocation = context_export_ == offer.name;
  return Outcome::transmission;
}

NbdHandshake::Outcome NbdHandshake::finish(std::string_view why) {
  why_ = why;
  return Outcome::finished;
}

}  // namespace mpath
