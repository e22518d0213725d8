#include "target/replication/dirty_map.hpp"

#include <algorithm>
#include <bit>

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "wire/crc32c.hpp"
#include "wire/error.hpp"

namespace mpath::target::replication {
namespace {

constexpr std::uint32_t magic = 0x4d50444d;  // "MPDM"
constexpr std::uint16_t format = 1;
constexpr std::uint64_t extents_wanted = 16384;
constexpr std::uint64_t extent_bytes_min = std::uint64_t{256} << 10;
constexpr std::uint64_t extent_bytes_max = std::uint64_t{4} << 20;
constexpr std::size_t words_per_page = DirtyMap::page_extents / 64;
constexpr std::size_t checksum_at = DirtyMap::page_head_bytes - 4;

// A page that is whole, without its checksum.
std::optional<DirtyMap::Page> whole(std::span<const std::byte> page) {
  if (page.size() != DirtyMap::page_bytes) return std::nullopt;
  DirtyMap::Page copy{};
  std::ranges::copy(page, copy.begin());
  const std::uint32_t checksum = Reader(std::span(copy).subspan(checksum_at, 4)).u32_le();
  std::fill_n(copy.begin() + checksum_at, 4, std::byte{0});
  if (crc32c(copy) != checksum || Reader(copy).u32() != magic) return std::nullopt;
  return copy;
}

struct Head {
  std::uint16_t format = 0;
  std::uint32_t index = 0;
  DirtyMap::Shape shape;
};

Head read_head(Reader& r) {
  Head head;
  r.skip(4);
  head.format = r.u16();
  r.skip(2);
  head.index = r.u32();
  r.skip(4);
  r.copy_to(head.shape.unit);
  head.shape.size_bytes = r.u64();
  head.shape.extent_bytes = r.u64();
  r.skip(DirtyMap::page_head_bytes - r.position());
  return head;
}

}  // namespace

std::uint64_t DirtyMap::extent_bytes_for(std::uint64_t size_bytes) {
  return std::bit_ceil(std::clamp(size_bytes / extents_wanted, extent_bytes_min, extent_bytes_max));
}

DirtyMap::DirtyMap(const Shape& shape)
    : shape_(shape),
      wanted_(shape.pages() * words_per_page),
      durable_(shape.pages() * words_per_page),
      changed_(shape.pages()) {
  CHECK(std::has_single_bit(shape.extent_bytes));
}

DirtyMap::DirtyMap(const DirtyMap& before, const Shape& shape) : DirtyMap(shape) {
  const Shape& old = before.shape_;
  CHECK(shape.size_bytes >= old.size_bytes);
  for (auto extent = before.next_marked(0); extent; extent = before.next_marked(*extent + 1)) {
    mark(extents_of(*extent * old.extent_bytes, before.bytes_of(*extent)));
  }
  mark(extents_of(old.size_bytes, shape.size_bytes - old.size_bytes));
}

ExtentRange DirtyMap::extents_of(std::uint64_t offset, std::uint64_t length) const {
  if (length == 0) return {};
  return {offset / shape_.extent_bytes, (offset + length - 1) / shape_.extent_bytes + 1};
}

std::uint64_t DirtyMap::bytes_of(std::uint64_t extent) const {
  return std::min(shape_.extent_bytes, shape_.size_bytes - extent * shape_.extent_bytes);
}

void DirtyMap::set_changed(std::uint64_t extent) {
  const std::size_t page = extent / page_extents;
  if (changed_[page]) return;
  changed_[page] = true;
  ++changed_count_;
}

void DirtyMap::mark(ExtentRange range) {
  for (std::uint64_t extent = range.first; extent < range.last; ++extent) {
    if (marked(extent)) continue;
    wanted_[extent / 64] |= std::uint64_t{1} << (extent % 64);
    set_changed(extent);
  }
}

void DirtyMap::clear(std::uint64_t extent) {
  if (!marked(extent)) return;
  wanted_[extent / 64] &= ~(std::uint64_t{1} << (extent % 64));
  set_changed(extent);
}

std::uint64_t DirtyMap::marked_count() const {
  std::uint64_t count = 0;
  for (const std::uint64_t word : wanted_) count += static_cast<std::uint64_t>(std::popcount(word));
  return count;
}

std::optional<std::uint64_t> DirtyMap::next_marked(std::uint64_t from) const {
  for (std::uint64_t extent = from; extent < shape_.extents();) {
    const std::uint64_t word = wanted_[extent / 64] >> (extent % 64);
    if (word != 0) {
      const std::uint64_t found = extent + static_cast<std::uint64_t>(std::countr_zero(word));
      return found < shape_.extents() ? std::optional(found) : std::nullopt;
    }
    extent = (extent / 64 + 1) * 64;
  }
  return std::nullopt;
}

bool DirtyMap::durable(ExtentRange range) const {
  for (std::uint64_t extent = range.first; extent < range.last; ++extent) {
    if (!test(durable_, extent) || !marked(extent)) return false;
  }
  return true;
}

std::vector<std::byte> DirtyMap::bits(std::uint64_t first, std::uint64_t count) const {
  std::vector<std::byte> bytes((count + 7) / 8);
  for (std::uint64_t at = 0; at < count; ++at) {
    if (marked(first + at)) bytes[at / 8] |= static_cast<std::byte>(1U << (at % 8));
  }
  return bytes;
}

void DirtyMap::merge(std::uint64_t first, std::uint64_t count, std::span<const std::byte> bits) {
  for (std::uint64_t at = 0; at < count && first + at < shape_.extents() && at / 8 < bits.size(); ++at) {
    if ((std::to_integer<unsigned>(bits[at / 8]) >> (at % 8) & 1U) != 0) mark({first + at, first + at + 1});
  }
}

DirtyMap::Page DirtyMap::encode(std::uint32_t index) const {
  Page page{};
  Writer w(page);
  w.u32(magic);
  w.u16(format);
  w.u16(0);
  w.u32(index);
  w.u32(0);
  w.bytes(shape_.unit);
  w.u64(shape_.size_bytes);
  w.u64(shape_.extent_bytes);
  w.skip(page_head_bytes - w.size());
  for (std::size_t at = 0; at < words_per_page; ++at) w.u64_le(wanted_[index * words_per_page + at]);
  CHECK(w.ok());
  Writer(std::span(page).subspan(checksum_at, 4)).u32_le(crc32c(page));
  return page;
}

std::string DirtyMap::encode_all() const {
  std::string text;
  for (std::uint32_t index = 0; index < changed_.size(); ++index) {
    const Page page = encode(index);
    text.append(reinterpret_cast<const char*>(page.data()), page.size());
  }
  return text;
}

std::optional<DirtyMap::Shape> DirtyMap::shape_of(std::span<const std::byte> page) {
  const auto copy = whole(page);
  if (!copy) return std::nullopt;
  Reader r(*copy);
  const Head head = read_head(r);
  if (head.format != format || !std::has_single_bit(head.shape.extent_bytes)) return std::nullopt;
  return head.shape;
}

std::vector<DirtyMap::PageWrite> DirtyMap::begin_write() {
  CHECK(!writing());
  std::vector<PageWrite> writes;
  for (std::uint32_t index = 0; index < changed_.size(); ++index) {
    if (!changed_[index]) continue;
    changed_[index] = false;
    const auto begin = wanted_.begin() + static_cast<std::ptrdiff_t>(index * words_per_page);
    in_write_.push_back({.index = index, .words = Words(begin, begin + words_per_page)});
    for (std::size_t at = 0; at < words_per_page; ++at) {
      durable_[index * words_per_page + at] &= in_write_.back().words[at];
    }
    writes.push_back({.index = index, .page = encode(index)});
  }
  changed_count_ = 0;
  return writes;
}

void DirtyMap::end_write(bool ok) {
  for (const InWrite& written : in_write_) {
    if (ok) {
      for (std::size_t at = 0; at < words_per_page; ++at) {
        durable_[written.index * words_per_page + at] |= written.words[at];
      }
    } else if (!changed_[written.index]) {
      changed_[written.index] = true;
      ++changed_count_;
    }
  }
  in_write_.clear();
}

Result<bool> DirtyMap::load(std::uint32_t index, std::span<const std::byte> page) {
  CHECK(index < changed_.size());
  const std::uint64_t first = std::uint64_t{index} * page_extents;
  const auto copy = whole(page);
  if (!copy) {
    mark({first, std::min(first + page_extents, shape_.extents())});
    return false;
  }
  Reader r(*copy);
  const Head head = read_head(r);
  if (head.format != format) return std::unexpected(make_error_code(WireErrc::bad_version));
  if (head.index != index || head.shape != shape_) return std::unexpected(make_error_code(WireErrc::bad_field));
  for (std::size_t at = 0; at < words_per_page; ++at) {
    const std::uint64_t word = r.u64_le();
    wanted_[index * words_per_page + at] = word;
    durable_[index * words_per_page + at] = word;
  }
  return true;
}

}  // namespace mpath::target::replication
