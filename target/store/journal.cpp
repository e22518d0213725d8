#include "target/store/journal.hpp"

#include <algorithm>
#include <vector>

#include "base/bytes.hpp"
#include "wire/crc32c.hpp"

namespace mpath::target {
namespace {

constexpr std::uint64_t file_magic = 0x4c4e524a4854504dull;   // "MPTHJRNL"
constexpr std::uint64_t entry_magic = 0x5952544e4548504dull;  // "MPHENTRY"
constexpr std::uint32_t journal_version = 1;
constexpr std::size_t entry_fields_bytes = 8 + 4 + 8 + 8 + 4 + 4;  // before the header's checksum
constexpr std::size_t file_fields_bytes = 8 + 4 + 4 + 4;
constexpr unsigned slots_max = 1024;
constexpr std::uint32_t body_bytes_limit = 64u << 20;

struct Shape {
  std::uint32_t slots;
  std::uint32_t body_bytes_max;
  [[nodiscard]] std::uint64_t slot_at(unsigned slot) const {
    return (1 + std::uint64_t{slot}) * (journal_header_bytes + body_bytes_max);
  }
};

JournalHeader encode_shape(const Shape& shape) {
  JournalHeader header{};
  Writer writer(header);
  writer.u64_le(file_magic);
  writer.u32_le(journal_version);
  writer.u32_le(shape.slots);
  writer.u32_le(shape.body_bytes_max);
  writer.u32_le(crc32c(std::span(header).first(file_fields_bytes)));
  return header;
}

// Nothing for a file that is new or was never finished: it has no entries either.
std::optional<Shape> decode_shape(std::span<const std::byte> header) {
  Reader reader(header);
  const std::uint64_t magic = reader.u64_le();
  const std::uint32_t version = reader.u32_le();
  const Shape shape{.slots = reader.u32_le(), .body_bytes_max = reader.u32_le()};
  const std::uint32_t checksum = reader.u32_le();
  if (!reader.ok() || magic != file_magic || checksum != crc32c(header.first(file_fields_bytes))) return std::nullopt;
  if (version != journal_version || shape.slots > slots_max || shape.body_bytes_max > body_bytes_limit)
    return std::nullopt;
  return shape;
}

iovec part_of(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

error_code write_one(DurableFile& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  const iovec part = part_of(bytes);
  return file.write(offset, std::span(&part, 1));
}

struct Found {
  JournalEntry entry;
  unsigned slot;
  std::vector<std::byte> body;
};

// The whole entry of a slot, when there is one.
Result<std::optional<Found>> read_slot(DurableFile& journal, const Shape& shape, unsigned slot) {
  JournalHeader header{};
  if (const error_code error = journal.read(shape.slot_at(slot), header)) return failure(error);
  const std::optional<JournalEntry> entry = decode_journal_entry(header);
  if (!entry || entry->length > shape.body_bytes_max) return std::nullopt;
  Found found{.entry = *entry, .slot = slot, .body = std::vector<std::byte>(entry->length)};
  if (const error_code error = journal.read(shape.slot_at(slot) + journal_header_bytes, found.body))
    return failure(error);
  if (crc32c(found.body) != entry->body_checksum) return std::nullopt;
  return found;
}

Result<std::optional<Shape>> read_shape(DurableFile& journal) {
  JournalHeader header{};
  if (const error_code error = journal.read(0, header)) return failure(error);
  return decode_shape(header);
}

}  // namespace

JournalHeader encode_journal_entry(const JournalEntry& entry) {
  JournalHeader header{};
  Writer writer(header);
  writer.u64_le(entry_magic);
  writer.u32_le(journal_version);
  writer.u64_le(entry.sequence);
  writer.u64_le(entry.offset);
  writer.u32_le(entry.length);
  writer.u32_le(entry.body_checksum);
  writer.u32_le(crc32c(std::span(header).first(entry_fields_bytes)));
  return header;
}

std::optional<JournalEntry> decode_journal_entry(std::span<const std::byte> header) {
  Reader reader(header);
  const std::uint64_t magic = reader.u64_le();
  const std::uint32_t version = reader.u32_le();
  const JournalEntry entry{.sequence = reader.u64_le(),
                           .offset = reader.u64_le(),
                           .length = reader.u32_le(),
                           .body_checksum = reader.u32_le()};
  const std::uint32_t checksum = reader.u32_le();
  if (!reader.ok() || magic != entry_magic || version != journal_version) return std::nullopt;
  if (checksum != crc32c(header.first(entry_fields_bytes))) return std::nullopt;
  return entry;
}

Result<bool> Journal::has_entries(DurableFile& journal) {
  const Result<std::optional<Shape>> shape = read_shape(journal);
  if (!shape) return failure(shape.error());
  for (unsigned slot = 0; *shape && slot < (*shape)->slots; ++slot) {
    const Result<std::optional<Found>> found = read_slot(journal, **shape, slot);
    if (!found) return failure(found.error());
    if (*found) return true;
  }
  return false;
}

Result<unsigned> Journal::recover(DurableFile& journal, DurableFile& medium, std::uint64_t medium_bytes) {
  const Result<std::optional<Shape>> old = read_shape(journal);
  if (!old) return failure(old.error());
  std::vector<Found> entries;
  for (unsigned slot = 0; *old && slot < (*old)->slots; ++slot) {
    Result<std::optional<Found>> found = read_slot(journal, **old, slot);
    if (!found) return failure(found.error());
    if (*found) entries.push_back(std::move(**found));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Found& a, const Found& b) { return a.entry.sequence < b.entry.sequence; });
  for (const Found& each : entries) {
    // An entry past the end is of another medium: nothing is better than writing it somewhere.
    if (each.entry.offset > medium_bytes || each.entry.length > medium_bytes - each.entry.offset)
      return failure(EINVAL);
    if (const error_code error = write_one(medium, each.entry.offset, each.body)) return failure(error);
  }
  const JournalHeader cleared{};
  for (const Found& each : entries) {
    if (const error_code error = write_one(journal, (*old)->slot_at(each.slot), cleared)) return failure(error);
  }
  const Shape now{.slots = slots, .body_bytes_max = body_bytes_max_};
  if (!*old || (*old)->slots != now.slots || (*old)->body_bytes_max != now.body_bytes_max) {
    // What lies where the new slots begin may look like an entry: clear those before the shape says that they count.
    for (unsigned slot = 0; slot < slots; ++slot) {
      if (const error_code error = write_one(journal, now.slot_at(slot), cleared)) return failure(error);
    }
    if (const error_code error = write_one(journal, 0, encode_shape(now))) return failure(error);
  }
  return static_cast<unsigned>(entries.size());
}

Journal::Outcome Journal::write(DurableFile& journal, DurableFile& medium, unsigned slot, std::uint64_t sequence,
                                std::uint64_t offset, std::span<const iovec> data) const {
  const Shape shape{.slots = slots, .body_bytes_max = body_bytes_max_};
  Crc32c checksum;
  std::uint64_t length = 0;
  for (const iovec& part : data) {
    checksum.add({static_cast<const std::byte*>(part.iov_base), part.iov_len});
    length += part.iov_len;
  }
  const JournalHeader header = encode_journal_entry({.sequence = sequence,
                                                     .offset = offset,
                                                     .length = static_cast<std::uint32_t>(length),
                                                     .body_checksum = checksum.value()});
  std::vector<iovec> all{part_of(header)};
  all.insert(all.end(), data.begin(), data.end());
  const JournalHeader cleared{};
  if (const error_code error = journal.write(shape.slot_at(slot), all)) {
    // It may be whole all the same, and would then undo later writes at the next opening.
    const bool is_gone = !write_one(journal, shape.slot_at(slot), cleared);
    return {error, is_gone ? Stage::journal : Stage::clear};
  }
  if (const error_code error = medium.write(offset, data)) return {error, Stage::medium};
  return {write_one(journal, shape.slot_at(slot), cleared), Stage::clear};
}

}  // namespace mpath::target
