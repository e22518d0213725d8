// Which extents of a unit may differ between its two copies: a bit each, on the medium before anything of the extent is
// written anywhere, gone from it only after both copies were synchronised and hold the same.
//
// So whatever ends (a process, the power, the link), the extents that have to be compared afterwards are those whose
// bit is set on either side. Both meanings that other systems keep apart are in it: the extents in use (an activity
// log), and those the peer lacks (a bitmap).
//
// On the medium: pages, each with a checksum. A page that is not whole, because power was lost while it was written,
// counts as all set: that costs comparing, and never data.
//
// Pure: says which pages are to be written; a MapStore writes them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace mpath::target::replication {

// Extents [first, last).
struct ExtentRange {
  std::uint64_t first = 0, last = 0;
};

class DirtyMap {
 public:
  static constexpr std::size_t page_bytes = 4096;
  static constexpr std::size_t page_head_bytes = 64;
  static constexpr std::size_t page_extents = (page_bytes - page_head_bytes) * 8;
  using Page = std::array<std::byte, page_bytes>;
  using Unit = std::array<std::byte, 16>;

  struct Shape {
    Unit unit{};  // its UUID
    std::uint64_t size_bytes = 0;
    std::uint64_t extent_bytes = 0;  // a power of two
    bool operator==(const Shape&) const = default;
    [[nodiscard]] std::uint64_t extents() const { return (size_bytes + extent_bytes - 1) / extent_bytes; }
    [[nodiscard]] std::size_t pages() const { return (extents() + page_extents - 1) / page_extents; }
  };
  // About 16,384 extents, none smaller than 256 KiB or larger than 4 MiB.
  [[nodiscard]] static std::uint64_t extent_bytes_for(std::uint64_t size_bytes);

  // Nothing is marked.
  explicit DirtyMap(const Shape& shape);
  // That of a unit that has grown since: what was marked is, and so is all that is new. `shape` is no smaller.
  DirtyMap(const DirtyMap& before, const Shape& shape);

  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] ExtentRange extents_of(std::uint64_t offset, std::uint64_t length) const;
  [[nodiscard]] ExtentRange all() const { return {0, shape_.extents()}; }
  [[nodiscard]] std::uint64_t bytes_of(std::uint64_t extent) const;  // the last one may be shorter

  void mark(ExtentRange range);
  void clear(std::uint64_t extent);
  [[nodiscard]] bool marked(std::uint64_t extent) const { return test(wanted_, extent); }
  [[nodiscard]] std::uint64_t marked_count() const;
  // The first marked one at or after `from`.
  [[nodiscard]] std::optional<std::uint64_t> next_marked(std::uint64_t from) const;
  // Whether all of them are marked on the medium: what is asked before a write.
  [[nodiscard]] bool durable(ExtentRange range) const;

  // The bits of [first, first + count), lowest first, as the peer is told; and what it told us, which is marked here.
  [[nodiscard]] std::vector<std::byte> bits(std::uint64_t first, std::uint64_t count) const;
  void merge(std::uint64_t first, std::uint64_t count, std::span<const std::byte> bits);

  // All pages as they are to be on the medium, one after the other.
  [[nodiscard]] std::string encode_all() const;
  // What the page of some map is of; nothing when it is not whole.
  [[nodiscard]] static std::optional<Shape> shape_of(std::span<const std::byte> page);

  // --- writing down: one at a time
  struct PageWrite {
    std::uint32_t index = 0;
    Page page{};
  };
  [[nodiscard]] bool changed() const { return changed_count_ > 0; }
  [[nodiscard]] bool writing() const { return !in_write_.empty(); }
  // The pages that differ from the medium. From here on a bit that was cleared does not count as durable any more.
  [[nodiscard]] std::vector<PageWrite> begin_write();
  // They are on the medium, or (not ok) may be.
  void end_write(bool ok);

  // What a page of the medium says, put in place and durable. Not whole: false, and all of its extents are marked.
  // Fails when the page is whole and of another unit or shape.
  [[nodiscard]] Result<bool> load(std::uint32_t index, std::span<const std::byte> page);

 private:
  using Words = std::vector<std::uint64_t>;
  [[nodiscard]] static bool test(const Words& words, std::uint64_t extent) {
    return (words[extent / 64] >> (extent % 64) & 1U) != 0;
  }
  void set_changed(std::uint64_t extent);
  [[nodiscard]] Page encode(std::uint32_t index) const;

  Shape shape_;
  Words wanted_;   // what holds
  Words durable_;  // set on the medium for certain
  std::vector<bool> changed_;
  std::size_t changed_count_ = 0;
  struct InWrite {
    std::uint32_t index = 0;
    Words words;
  };
  std::vector<InWrite> in_write_;
};

// The durable place of a map. Implemented by target/replication/map_file.hpp, and in the simulator.
//
// Threads: the unit's shard; `done` there too, never from inside write(). One write at a time.
class MapStore {
 public:
  virtual ~MapStore() = default;
  virtual void write(std::vector<DirtyMap::PageWrite> pages, std::function<void(error_code)> done) = 0;
};

}  // namespace mpath::target::replication
