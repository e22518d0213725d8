#include "tests/support/verify_load/block_stamp.hpp"

#include <fmt/format.h>
#include <isa-l/crc.h>

#include <array>
#include <cstring>
#include <optional>

namespace mpath::verify {
namespace {

constexpr std::uint32_t magic = 0x564c6431;  // "VLd1"

struct Header {
  std::uint32_t magic;
  std::uint32_t sector;
  std::uint64_t volume;
  std::uint64_t block;
  std::uint64_t seq;
  std::uint32_t writer;
  std::uint32_t crc;  // of the whole sector with this field zero
};
static_assert(sizeof(Header) == 40);
constexpr std::size_t filler_words = (sector_bytes - sizeof(Header)) / sizeof(std::uint64_t);

std::uint32_t sector_crc(std::span<const std::byte> sector, const Header& header) {
  Header plain = header;
  plain.crc = 0;
  std::array<unsigned char, sizeof(Header)> head;
  std::memcpy(head.data(), &plain, sizeof plain);
  const unsigned crc = crc32_iscsi(head.data(), head.size(), 0xffffffffU);
  // The library takes a pointer to non-const but only reads.
  auto* rest = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(sector.data() + sizeof(Header)));
  return crc32_iscsi(rest, static_cast<int>(sector_bytes - sizeof(Header)), crc);
}

std::uint64_t mixed(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

// The header of a sector whose CRC is right, or nothing. All zeroes and other people's data have no magic.
struct SectorView {
  bool ours = false;
  bool intact = false;
  Header header{};
};

SectorView view_sector(std::span<const std::byte> sector, std::uint64_t volume) {
  SectorView view;
  std::memcpy(&view.header, sector.data(), sizeof view.header);
  view.ours = view.header.magic == magic && view.header.volume == volume;
  view.intact = view.ours && sector_crc(sector, view.header) == view.header.crc;
  return view;
}

Stamp stamp_of(const Header& header) {
  return Stamp{.volume = header.volume, .block = header.block, .seq = header.seq, .writer = header.writer};
}

}  // namespace

void stamp_block(std::span<std::byte, block_bytes> block, const Stamp& stamp) {
  for (unsigned i = 0; i < sectors_per_block; ++i) {
    const std::span<std::byte> sector = block.subspan(i * sector_bytes, sector_bytes);
    Header header{.magic = magic,
                  .sector = i,
                  .volume = stamp.volume,
                  .block = stamp.block,
                  .seq = stamp.seq,
                  .writer = stamp.writer,
                  .crc = 0};
    std::array<std::uint64_t, filler_words> filler;
    std::uint64_t state = mixed(stamp.volume ^ mixed(stamp.block) ^ mixed(stamp.seq * sectors_per_block + i));
    for (std::uint64_t& word : filler) word = mixed(state += 0x9e3779b97f4a7c15U);
    std::memcpy(sector.data() + sizeof header, filler.data(), sizeof filler);
    header.crc = sector_crc(sector, header);
    std::memcpy(sector.data(), &header, sizeof header);
  }
}

Finding inspect_block(std::span<const std::byte, block_bytes> data, std::uint64_t volume, std::uint64_t block) {
  std::optional<Header> first;
  std::optional<unsigned> not_intact;
  std::optional<Torn> torn;
  bool any_ours = false;
  for (unsigned i = 0; i < sectors_per_block; ++i) {
    const SectorView view = view_sector(data.subspan(i * sector_bytes, sector_bytes), volume);
    any_ours |= view.ours;
    if (!view.intact || view.header.sector != i) {
      if (!not_intact) not_intact = i;
      continue;
    }
    if (!first) {
      first = view.header;
    } else if (!torn && (view.header.seq != first->seq || view.header.block != first->block)) {
      torn = Torn{.one_seq = first->seq, .other_seq = view.header.seq, .sector = i};
    }
  }
  if (!any_ours) return Alien{};
  if (not_intact) return Damaged{*not_intact};
  if (torn) return *torn;
  const Stamp stamp = stamp_of(*first);
  if (stamp.block != block) return Misplaced{stamp};
  return Whole{stamp};
}

std::string describe(const Finding& finding) {
  struct Words {
    std::string operator()(const Whole& f) const {
      return fmt::format("holds write {} of writer {}", f.stamp.seq, f.stamp.writer);
    }
    std::string operator()(const Alien&) const { return "holds nothing of this run"; }
    std::string operator()(const Misplaced& f) const {
      return fmt::format("holds write {} of block {}", f.stamp.seq, f.stamp.block);
    }
    std::string operator()(const Torn& f) const {
      return fmt::format("is torn: write {} up to sector {}, then write {}", f.one_seq, f.sector, f.other_seq);
    }
    std::string operator()(const Damaged& f) const { return fmt::format("is damaged in sector {}", f.sector); }
  };
  return std::visit(Words{}, finding);
}

}  // namespace mpath::verify
