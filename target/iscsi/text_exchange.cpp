#include "target/iscsi/text_exchange.hpp"

#include <algorithm>

#include "wire/iscsi_limits.hpp"

namespace mpath::target {
namespace {

constexpr std::uint32_t exchange_tag = 0x54455854;  // one exchange at a time needs one tag

}  // namespace

TextExchange::Next TextExchange::take(const iscsi::TextRequest& pdu, std::span<const std::byte> data) {
  if (pdu.ttt == iscsi::reserved_tag) {
    reset();
  } else if (pdu.ttt != ttt_) {
    return Next::refuse;
  }
  final_ = pdu.final;
  if (whole_) return data.empty() ? Next::go_on : Next::refuse;
  if (request_.size() + data.size() > iscsi::limits::login_text_bytes_max) {
    reset();
    return Next::refuse;
  }
  request_.insert(request_.end(), data.begin(), data.end());
  if (pdu.continued) {
    ttt_ = exchange_tag;
    return Next::more;
  }
  whole_ = true;
  return Next::answer;
}

std::vector<std::byte> TextExchange::part(iscsi::TextResponse& pdu, std::size_t bytes_max) {
  pdu.final = false;
  pdu.continued = false;
  pdu.ttt = exchange_tag;
  if (!whole_) return {};
  std::vector<std::byte> part(answer_.begin() + static_cast<std::ptrdiff_t>(given_),
                              answer_.begin() + static_cast<std::ptrdiff_t>(std::min(given_ + bytes_max, answer_.size())));
  given_ += part.size();
  if (given_ < answer_.size()) {
    pdu.continued = true;
    ttt_ = exchange_tag;
  } else if (!final_) {  // the initiator has more to say
    reset();
    ttt_ = exchange_tag;
  } else {
    pdu.final = true;
    pdu.ttt = iscsi::reserved_tag;
    ttt_ = 0;
  }
  return part;
}

}  // namespace mpath::target
